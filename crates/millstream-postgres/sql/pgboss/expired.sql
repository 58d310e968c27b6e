-- Claims of ours that ran out: whose holder did not beat for a lease.
-- $1 lease in microseconds, $2 at most so many. Rides boss_claim_pkey, job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
)
select b.id as batch, l.name as queue, l.id::text as job, l.retry_count, l.started_on
from clock c cross join {schema}.boss_claim b cross join lateral unnest(b.queues, b.jobs) as u(queue, job)
     cross join lateral (
         select j.* from {boss}.job j
         where j.name = coalesce(u.queue, b.queues[1]) and j.id >= u.job order by j.id limit 1
     ) l
where l.id = u.job and l.started_on = b.started and l.state = 'active'
  and {schema}.boss_until(l.heartbeat_on, l.heartbeat_seconds, $1::bigint) <= c.now
  and b.boss = '{name}' and b.at + $1::bigint * interval '1 microsecond' <= c.now
order by l.started_on, l.id
limit $2::bigint
