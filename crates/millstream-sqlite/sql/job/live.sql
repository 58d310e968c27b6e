-- An unfinished job.
-- ?1 queue, ?2 job id. Rides the unique index (queue, job), then primary keys.
SELECT l.job, l.queue, q.name, b.job, b.name, b.settings, l.state, l.priority, l.seq, l.run_at, l.attempt,
       l.started_at, l.cancel_requested, l.error
FROM job AS b CROSS JOIN job_live AS l ON l.job = b.id CROSS JOIN queue AS q ON q.id = b.queue
WHERE b.queue = ?1 AND b.job = ?2;
