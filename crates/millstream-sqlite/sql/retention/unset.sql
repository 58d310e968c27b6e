-- Leaves it to each process how long the log keeps events. Rides the primary key.
DELETE FROM event_retention WHERE id = 1;
