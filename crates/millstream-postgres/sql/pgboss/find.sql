-- One job, wherever it is in its life.
-- $1 queue, $2 job. Rides job_pkey, boss_job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
)
select j.id::text as job, case
           when j.state < 'active' and not j.blocked and j.start_after <= c.now then 'w'
           when j.state < 'active' then 'd' when j.state = 'active' then 'a' when j.state = 'completed' then 'c'
           when j.state = 'failed' then 'f' else 'x' end as state,
       j.data::text as data, j.priority, j.retry_limit, j.retry_count, j.retry_delay, j.retry_backoff, j.retry_delay_max,
       j.expire_seconds, j.group_id, j.group_tier, j.output::text as output, j.created_on, j.start_after, j.started_on, j.completed_on,
       h.key, h.name, h.options::text as options, h.progress::text as progress, coalesce(h.cancel, false) as cancel,
       h.removal::text as removal
from clock c cross join lateral ({seek $1::text | $2::text::uuid}) s
     cross join lateral (
         select x.* from {job} x where x.ctid = s.tid and x.name = $1::text and x.id = $2::text::uuid offset 0
     ) j
left join lateral (
    select b.key, b.name, b.options, b.progress, b.cancel, b.removal from {schema}.boss_job b
    where b.boss = '{name}' and b.queue = j.name and b.job = j.id offset 0
) h on true
