-- One job, wherever it is in its life. One statement: two could miss a job that moves between them.
-- ?1 queue name, ?2 job id. Rides the unique indexes of queue and job, then primary keys.
SELECT b.id, b.job, b.name, b.data, b.settings, b.created_at,
       coalesce(l.state, d.state), coalesce(l.attempt, d.attempt), p.value, d.output, coalesce(l.error, d.error), coalesce(l.cancel_requested, d.cancel_requested),
       coalesce(l.run_at, d.run_at), coalesce(l.started_at, d.started_at), d.finished_at
FROM queue AS q CROSS JOIN job AS b ON b.queue = q.id
LEFT JOIN job_live AS l ON l.job = b.id
LEFT JOIN job_done AS d ON d.job = b.id
LEFT JOIN job_progress AS p ON p.job = b.id
WHERE q.name = ?1 AND b.job = ?2;
