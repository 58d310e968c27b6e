-- Sets how long the log keeps events. ?1 microseconds or NULL, ?2 how many or NULL. Rides the primary key.
INSERT INTO event_retention (id, age, events) VALUES (1, ?1, ?2)
ON CONFLICT (id) DO UPDATE SET age = excluded.age, events = excluded.events;
