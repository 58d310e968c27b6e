-- Events, newest first.
-- ?1 only after, ?2 up to this position, ?3 types as a JSON array or NULL, ?4 at most so many, ?5 and ?6 the range of streams.
-- Rides the primary key. An upper end that is a blob is above every text.
SELECT id, stream, version, ts, type, run_id, flow_name, step_name, step_id, attempt, data
FROM queue_events
WHERE id > ?1 AND id <= ?2 AND (?3 IS NULL OR type IN (SELECT value FROM json_each(?3)))
  AND stream >= ?5 AND stream < ?6
ORDER BY id DESC
LIMIT ?4;
