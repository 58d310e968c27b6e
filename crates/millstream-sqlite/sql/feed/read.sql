-- Queue events of other processes.
-- ?1 only after, ?2 this process, ?3 at most so many. Rides the primary key.
SELECT id, event FROM queue_feed WHERE id > ?1 AND origin <> ?2 ORDER BY id LIMIT ?3;
