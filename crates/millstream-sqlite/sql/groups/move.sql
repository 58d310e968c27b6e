-- Moves a cursor, if epoch and position are as named. ?1 group, ?2 partition, ?3 epoch, ?4 from, ?5 to.
-- Rides the primary key.
UPDATE queue_event_cursors SET pos = ?5, attempts = 0, retry_at = 0, error = NULL
WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND pos = ?4;
