-- Jobs that a worker took without writing so, before it vanished, which is when the lock of its call went: nobody else
-- began them since. One that became ready only after that was given back, snoozed or sent anew by somebody else.
-- $1 at most so many. Rides boss_claim_pkey, job_pkey.
with dead as materialized (
    select b.id, b.started, b.queues, b.jobs from {schema}.boss_claim b
    where b.boss = '{name}' and b.deferred
      and pg_try_advisory_xact_lock_shared(hashtextextended('{schema}.boss_claim', b.id))
)
select distinct on (l.name, l.id) d.id as batch, l.name as queue, l.id::text as job, l.retry_count, d.started as started_on
from dead d cross join lateral unnest(d.jobs) as u(job) cross join lateral (
    select j.* from {boss}.job j
    where j.name = d.queues[1] and j.id >= u.job order by j.id limit 1
) l
where l.id = u.job and l.started_on is null and l.retry_count = 0 and l.state < 'active'
  and l.start_after < d.started + interval '1 millisecond'
order by l.name, l.id, d.id desc
limit $1::bigint
