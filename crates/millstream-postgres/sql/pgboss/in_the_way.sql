-- The job for which a policy, a throttle or an id refused another one.
-- $1 queue, $2 job, $3 key. Rides job_pkey, job_i14.
select x.id::text as job, h.key from (
    select j.id from {job} j
    where j.name = $1::text and (j.id = $2::text::uuid or (coalesce(j.singleton_key, '') = coalesce($3::text, '') and j.state <= 'active'))
    order by j.id = $2::text::uuid desc, j.created_on limit 1
) x left join lateral (
    select b.key from {schema}.boss_job b where b.boss = '{name}' and b.queue = $1::text and b.job = x.id offset 0
) h on true
