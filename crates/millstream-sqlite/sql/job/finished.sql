-- A finished job.
-- ?1 queue, ?2 job id. Rides the unique index (queue, job), then the primary key.
SELECT d.job, d.state, d.attempt, d.started_at, d.error, b.name, b.settings
FROM job AS b CROSS JOIN job_done AS d ON d.job = b.id
WHERE b.queue = ?1 AND b.job = ?2;
