-- A page of a queue's finished jobs of one state, newest first.
-- ?1 queue, ?2 only before this job, ?3 name or NULL, ?4 since or NULL, ?5 until or NULL, ?6 at most so many, ?7 state.
-- Rides job_done_state, then primary keys.
SELECT b.id, b.job, b.name, b.data, b.settings, b.created_at,
       d.state, d.attempt, p.value, d.output, d.error, d.cancel_requested,
       d.run_at, d.started_at, d.finished_at
FROM job_done AS d CROSS JOIN job AS b ON b.id = d.job
LEFT JOIN job_progress AS p ON p.job = b.id
WHERE d.queue = ?1 AND d.state = ?7 AND d.job < ?2
  AND (?3 IS NULL OR b.name = ?3) AND (?4 IS NULL OR b.created_at >= ?4) AND (?5 IS NULL OR b.created_at < ?5)
ORDER BY d.job DESC
LIMIT ?6;
