-- The number of a job: by the caller's own id, else by what an id of ours is made of.
-- $1 queue, $2 id, $3 and $4 number and time in it, if it can be ours. Rides job_key_pkey, job_pkey.
select coalesce(
    (select k.job from {schema}.job_key k where k.queue = $1::integer and k.key = $2::text),
    (select j.id from {schema}.job j
     where j.queue = $1::integer and j.id = $3::bigint and j.key is null and j.created_at = $4::timestamptz)
) as job
