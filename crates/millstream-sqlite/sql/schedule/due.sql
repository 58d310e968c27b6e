-- Schedules that are due, the longest first.
-- ?1 now, ?2 at most so many. Rides schedule_due.
SELECT id, body, next_at FROM schedule WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2;
