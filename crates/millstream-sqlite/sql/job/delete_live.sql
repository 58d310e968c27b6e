-- A finished job is not live any more.
-- ?1 job. Rides the primary key.
DELETE FROM job_live WHERE job = ?1;
