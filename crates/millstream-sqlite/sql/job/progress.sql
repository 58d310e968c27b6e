-- Notes the progress of a running job, unless its claim is lost.
-- ?1 queue name, ?2 job id, ?3 token, ?4 now, ?5 value. Rides the unique indexes of queue and job, then primary keys.
INSERT INTO job_progress (job, value)
SELECT l.job, ?5
FROM queue AS q CROSS JOIN job AS b ON b.queue = q.id CROSS JOIN job_live AS l ON l.job = b.id
WHERE q.name = ?1 AND b.job = ?2 AND l.state = 'active' AND l.token = ?3 AND l.lease_until > ?4
ON CONFLICT (job) DO UPDATE SET value = excluded.value;
