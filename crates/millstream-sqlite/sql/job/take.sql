-- Takes a picked job; the write lock is held, so it is still waiting.
-- ?1 job, ?2 token, ?3 lease until, ?4 now. Rides the primary key.
UPDATE job_live
SET state = 'active', attempt = attempt + 1, token = ?2, lease_until = ?3, started_at = ?4
WHERE job = ?1
RETURNING attempt, life;
