-- A running job is to be cancelled; its holder is told by its next beat.
-- ?1 job. Rides the primary key.
UPDATE job_live SET cancel_requested = 1 WHERE job = ?1;
