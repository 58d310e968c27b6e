-- Raises the attempts of a job that an operator runs again: the one write to a body.
-- ?1 job, ?2 settings. Rides the primary key.
UPDATE job SET settings = ?2 WHERE id = ?1;
