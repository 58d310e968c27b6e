-- How many events a stream has had.
-- ?1 stream. Rides the primary key.
SELECT version FROM event_stream WHERE stream = ?1;
