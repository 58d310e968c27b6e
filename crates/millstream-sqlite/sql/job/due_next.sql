-- When the next delayed job is due; NULL if there is none. Rides job_due.
SELECT min(run_at) FROM job_live WHERE state = 'delayed';
