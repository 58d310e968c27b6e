-- A schedule.
-- ?1 queue, ?2 key. Rides the unique index (queue, key).
SELECT body, next_at FROM schedule WHERE queue = ?1 AND key = ?2;
