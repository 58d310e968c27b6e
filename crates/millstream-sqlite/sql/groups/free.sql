-- How many partitions nobody has. ?1 group, ?2 now. Rides the primary key.
SELECT count(*) FROM queue_event_cursors WHERE grp = ?1 AND (owner IS NULL OR lease_until <= ?2);
