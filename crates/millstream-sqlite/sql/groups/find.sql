-- A group. ?1 name. Rides its unique index.
SELECT id, pattern, types, partitions, poison, attempts, retain, lease, paused
FROM queue_event_groups WHERE name = ?1;
