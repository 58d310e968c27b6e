-- An unfinished job is waiting or delayed again; a claim on it ends here.
-- ?1 job, ?2 state, ?3 seq, ?4 run at, ?5 attempt, ?6 error. Rides the primary key.
UPDATE job_live
SET state = ?2, seq = ?3, run_at = ?4, attempt = ?5, error = ?6, token = NULL, lease_until = NULL
WHERE job = ?1;
