-- The live row of a job that was taken in or runs again.
-- ?1 job, ?2 queue, ?3 state, ?4 priority, ?5 seq and life, ?6 run at, ?7 attempt, ?8 started at, ?9 error.
INSERT INTO job_live (job, queue, state, priority, seq, life, run_at, attempt, started_at, error)
VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9);
