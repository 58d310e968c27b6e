-- The counts of one queue.
-- ?1 name. Rides the unique index on the name.
SELECT name, paused, waiting, delayed, active, completed, failed, cancelled
FROM queue WHERE name = ?1;
