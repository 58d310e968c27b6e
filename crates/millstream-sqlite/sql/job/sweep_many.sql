-- Finished jobs that are too many.
-- ?1 queue, ?2 state, ?3 how many stay, ?4 only up to this seq, ?5 at most so many. Rides job_done_keep.
SELECT job, queue, state FROM job_done
WHERE queue = ?1 AND state = ?2 AND keep IS NOT NULL AND keep = ?3 AND seq <= ?4
ORDER BY seq
LIMIT ?5;
