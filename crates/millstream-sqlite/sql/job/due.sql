-- Delayed jobs that are due, in the order of their time.
-- ?1 now, ?2 at most so many. Rides job_due, then primary keys.
SELECT l.job, l.queue, q.name, b.job, b.name, b.settings, l.state, l.priority, l.seq, l.run_at, l.attempt,
       l.started_at, l.cancel_requested, l.error
FROM job_live AS l CROSS JOIN job AS b ON b.id = l.job CROSS JOIN queue AS q ON q.id = l.queue
WHERE l.state = 'delayed' AND l.run_at <= ?1
ORDER BY l.run_at, l.job
LIMIT ?2;
