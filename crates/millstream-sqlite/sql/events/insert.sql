-- Writes an event at its position.
-- ?1 position, ?2 stream, ?3 version, ?4 time, ?5 type, ?6 run id, ?7 flow name, ?8 step name, ?9 step id, ?10 attempt,
-- ?11 data.
INSERT INTO queue_events (id, stream, version, ts, type, run_id, flow_name, step_name, step_id, attempt, data)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11);
