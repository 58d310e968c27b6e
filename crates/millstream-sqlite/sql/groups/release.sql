-- Gives a partition back, if it is still held. ?1 group, ?2 partition, ?3 epoch. Rides the primary key.
UPDATE queue_event_cursors SET owner = NULL, lease_until = 0 WHERE grp = ?1 AND part = ?2 AND epoch = ?3;
