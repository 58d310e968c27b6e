-- Whether a job is not finished.
-- $1 queue, $2 job. Rides job_live_pkey.
select l.job from {schema}.job_live l where l.queue = $1::integer and l.job = $2::bigint
