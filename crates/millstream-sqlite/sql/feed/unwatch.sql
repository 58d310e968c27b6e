-- This process watches a queue no more.
-- ?1 this process, ?2 queue name. Rides the primary key.
DELETE FROM queue_watcher WHERE origin = ?1 AND queue = ?2;
