-- Names and ids of jobs, for their events.
-- $1 queues, $2 jobs. Rides job_pkey.
select i.ord, b.name, b.id from unnest($1::integer[], $2::bigint[]) with ordinality as i(queue, job, ord)
cross join lateral (
    select j.name, {schema}.job_id(j.key, j.id, j.created_at) as id
    from {schema}.job j where j.queue = i.queue and j.id = i.job offset 0) b
