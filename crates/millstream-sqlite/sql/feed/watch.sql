-- This process watches a queue for the next so many seconds, by real time.
-- ?1 this process, ?2 queue name, ?3 seconds. Rides the primary key.
INSERT INTO queue_watcher (origin, queue, until) VALUES (?1, ?2, unixepoch() + ?3)
ON CONFLICT (origin, queue) DO UPDATE SET until = excluded.until;
