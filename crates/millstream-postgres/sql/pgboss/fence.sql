-- Locks the running jobs whose claims hold, where they are now: a beat may have moved them since this statement began.
-- $1 queues, $2 jobs, $3 attempts, $4 starts, $5 lease in microseconds. Rides job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
)
select i.ord
from clock c, unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[]) with ordinality as i(queue, job, fence, start, ord)
     cross join lateral (
         select j.id from {job} j
         where j.name = i.queue and j.id >= i.job::uuid and j.id <= i.job::uuid and j.retry_count = i.fence and j.started_on = i.start
           and j.state is not distinct from 'active'
           and {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $5::bigint) > c.now
         order by j.id limit 1
         for update
     ) l
order by i.ord
