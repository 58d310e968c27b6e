-- Every queue with its counts, by name. Rides the unique index on the name.
SELECT name, paused, waiting, delayed, active, completed, failed, cancelled
FROM queue ORDER BY name;
