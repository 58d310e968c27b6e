-- A job that runs again is not finished any more.
-- ?1 job. Rides the primary key.
DELETE FROM job_done WHERE job = ?1;
