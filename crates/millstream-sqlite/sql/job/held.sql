-- The job of a claim that holds: its token is the current one, and its lease has not run out.
-- ?1 queue, ?2 job id, ?3 token, ?4 now. Rides the unique index (queue, job), then primary keys.
SELECT l.job, l.queue, q.name, b.job, b.name, b.settings, l.state, l.priority, l.seq, l.run_at, l.attempt,
       l.started_at, l.cancel_requested, l.error
FROM job AS b CROSS JOIN job_live AS l ON l.job = b.id CROSS JOIN queue AS q ON q.id = b.queue
WHERE b.queue = ?1 AND b.job = ?2 AND l.state = 'active' AND l.token = ?3 AND l.lease_until > ?4;
