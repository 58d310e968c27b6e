-- The finished row of a job.
-- ?1 job, ?2 queue, ?3 state, ?4 seq, ?5 run at, ?6 attempt, ?7 started at, ?8 finished at, ?9 cancel requested,
-- ?10 output, ?11 error, ?12 how many of its kind stay, ?13 until when it stays.
INSERT INTO job_done (job, queue, state, seq, run_at, attempt, started_at, finished_at, cancel_requested,
                      output, error, keep, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13);
