-- How long the log keeps events, if it was set for every process. Rides the primary key.
SELECT age, events FROM event_retention WHERE id = 1;
