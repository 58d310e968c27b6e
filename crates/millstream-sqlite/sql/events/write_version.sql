-- Notes how many events a stream has had.
-- ?1 stream, ?2 version. Rides the primary key.
INSERT INTO event_stream (stream, version) VALUES (?1, ?2)
ON CONFLICT (stream) DO UPDATE SET version = excluded.version;
