-- The next jobs of a queue: by priority, then in the order in which they became ready.
-- ?1 queue, ?2 at most so many. Rides job_ready.
SELECT job, priority, seq FROM job_live
WHERE queue = ?1 AND state = 'waiting'
ORDER BY priority, seq
LIMIT ?2;
