-- Takes a job in, unless its queue has one of this id in whatever state: then no row is answered.
-- ?1 queue, ?2 job id, ?3 name, ?4 data, ?5 settings, ?6 trace, ?7 time. Rides the unique index (queue, job).
INSERT INTO job (queue, job, name, data, settings, trace, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (queue, job) DO NOTHING
RETURNING id;
