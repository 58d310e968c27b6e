-- Removes a job in whatever state, with its rows in the other tables.
-- ?1 job. Rides the primary key.
DELETE FROM job WHERE id = ?1;
