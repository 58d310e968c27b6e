-- Puts an event aside. ?1 group, ?2 position, ?3 stream, ?4 whether it stops its stream, ?5 error, ?6 attempts, ?7 now.
INSERT INTO queue_event_parked (grp, pos, stream, stops_stream, error, attempts, parked_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (grp, pos) DO NOTHING;
