-- Which queues and states keep only so many. Rides job_done_keep, whose rows are bounded by what is kept.
SELECT queue, state, keep FROM job_done WHERE keep IS NOT NULL GROUP BY queue, state, keep;
