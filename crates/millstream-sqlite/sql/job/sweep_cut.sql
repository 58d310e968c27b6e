-- The newest finished job that goes, of those that are kept by number.
-- ?1 queue, ?2 state, ?3 how many stay. Rides job_done_keep.
SELECT seq FROM job_done
WHERE queue = ?1 AND state = ?2 AND keep IS NOT NULL
ORDER BY seq DESC
LIMIT 1 OFFSET ?3;
