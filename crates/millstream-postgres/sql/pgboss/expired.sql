-- Claims of ours that ran out: whose holder did not beat for a lease.
-- $1 lease in microseconds, $2 at most so many. Rides boss_claim_pkey, job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
)
select b.id as batch, l.name as queue, l.id::text as job, l.retry_count, l.started_on
from clock c cross join {schema}.boss_claim b cross join lateral unnest(b.queues, b.jobs) as u(queue, job)
     cross join lateral (
         select j.name, j.id, j.retry_count, j.started_on from {boss}.job j
         where j.name = u.queue and j.id = u.job and j.started_on = b.started and j.state is not distinct from 'active'
           and {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $1::bigint) <= c.now
         offset 0
     ) l
where b.boss = '{name}' and b.at + $1::bigint * interval '1 microsecond' <= c.now
order by l.started_on, l.id
limit $2::bigint
