-- A page of a queue's unfinished jobs of one state, newest first.
-- ?1 queue, ?2 only before this job, ?3 name or NULL, ?4 since or NULL, ?5 until or NULL, ?6 at most so many, ?7 state.
-- Rides job_live_state, then primary keys.
SELECT b.id, b.job, b.name, b.data, b.settings, b.created_at,
       l.state, l.attempt, p.value, NULL, l.error, l.cancel_requested,
       l.run_at, l.started_at, NULL
FROM job_live AS l CROSS JOIN job AS b ON b.id = l.job
LEFT JOIN job_progress AS p ON p.job = b.id
WHERE l.queue = ?1 AND l.state = ?7 AND l.job < ?2
  AND (?3 IS NULL OR b.name = ?3) AND (?4 IS NULL OR b.created_at >= ?4) AND (?5 IS NULL OR b.created_at < ?5)
ORDER BY l.job DESC
LIMIT ?6;
