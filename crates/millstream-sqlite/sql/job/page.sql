-- A page of a queue's jobs, newest first.
-- ?1 queue, ?2 only before this job, ?3 name or NULL, ?4 since or NULL, ?5 until or NULL, ?6 at most so many.
-- Rides job_intake, then primary keys.
SELECT b.id, b.job, b.name, b.data, b.settings, b.created_at,
       coalesce(l.state, d.state), coalesce(l.attempt, d.attempt), p.value, d.output, coalesce(l.error, d.error), coalesce(l.cancel_requested, d.cancel_requested),
       coalesce(l.run_at, d.run_at), coalesce(l.started_at, d.started_at), d.finished_at
FROM job AS b
LEFT JOIN job_live AS l ON l.job = b.id
LEFT JOIN job_done AS d ON d.job = b.id
LEFT JOIN job_progress AS p ON p.job = b.id
WHERE b.queue = ?1 AND b.id < ?2
  AND (?3 IS NULL OR b.name = ?3) AND (?4 IS NULL OR b.created_at >= ?4) AND (?5 IS NULL OR b.created_at < ?5)
ORDER BY b.id DESC
LIMIT ?6;
