-- Whether a queue has a job to claim: what an idle poll asks instead of taking the write lock.
-- ?1 queue name. Rides the unique index on the name, then job_live_state.
SELECT 1 FROM queue AS q CROSS JOIN job_live AS l ON l.queue = q.id
WHERE q.name = ?1 AND q.paused = 0 AND l.state = 'waiting'
LIMIT 1;
