-- Finished jobs that were kept longer than they should be.
-- ?1 now, ?2 at most so many. Rides job_done_expires.
SELECT job, queue, state FROM job_done WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2;
