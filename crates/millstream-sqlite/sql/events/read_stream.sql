-- A stream's events in order of position.
-- ?1 only after, ?2 up to this position, ?3 types as a JSON array or NULL, ?4 at most so many, ?5 the stream.
-- Rides queue_events_stream.
SELECT id, stream, version, ts, type, run_id, flow_name, step_name, step_id, attempt, data
FROM queue_events
WHERE id > ?1 AND id <= ?2 AND (?3 IS NULL OR type IN (SELECT value FROM json_each(?3)))
  AND stream = ?5
ORDER BY id
LIMIT ?4;
