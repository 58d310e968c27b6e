-- What a handler needs of a job.
-- ?1 job. Rides the primary key.
SELECT job, name, data, settings, trace FROM job WHERE id = ?1;
