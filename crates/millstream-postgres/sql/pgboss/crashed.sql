-- Jobs that a worker took without writing so, before it vanished: nobody else began them since. One that became ready only
-- after that was given back, snoozed or sent anew by somebody else.
-- $1 lease in microseconds, $2 at most so many. Rides boss_claim_pkey, job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
)
select distinct on (l.name, l.id) b.id as batch, l.name as queue, l.id::text as job, l.retry_count, b.started as started_on
from clock c cross join {schema}.boss_claim b cross join lateral unnest(b.jobs) as u(job)
     cross join lateral (
         select j.* from {boss}.job j
         where j.name = b.queues[1] and j.id >= u.job order by j.id limit 1
     ) l
where b.deferred and l.id = u.job and l.started_on is null and l.state < 'active'
  and l.start_after < b.started + interval '1 millisecond'
  and b.boss = '{name}' and b.at + $1::bigint * interval '1 microsecond' <= c.now
order by l.name, l.id, b.id desc
limit $2::bigint
