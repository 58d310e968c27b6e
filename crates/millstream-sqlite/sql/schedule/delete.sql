-- Removes a schedule.
-- ?1 queue, ?2 key. Rides the unique index (queue, key).
DELETE FROM schedule WHERE queue = ?1 AND key = ?2;
