-- Whether a lease has run out.
-- ?1 now. Rides job_lease.
SELECT 1 FROM job_live WHERE state = 'active' AND lease_until <= ?1 LIMIT 1;
