-- Counts a failure on the event behind the cursor; answers how many. No row: fenced.
-- ?1 group, ?2 partition, ?3 epoch, ?4 position, ?5 not before, ?6 error. Rides the primary key.
UPDATE queue_event_cursors SET attempts = attempts + 1, retry_at = ?5, error = ?6
WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND pos = ?4
RETURNING attempts;
