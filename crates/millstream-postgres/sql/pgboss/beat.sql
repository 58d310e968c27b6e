-- Renews claims. Answers those that hold, and whether somebody asked to cancel the job. A row that somebody is writing is
-- not waited for: most often a settle of ours has it, which locks in another order. It holds until that is committed.
-- $1 queues, $2 jobs, $3 attempts, $4 starts, $5 lease in microseconds. Rides job_pkey, boss_job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
), held as materialized (
    select i.ord, i.queue, l.* from clock c,
         unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[]) with ordinality as i(queue, job, fence, start, ord)
         cross join lateral ({seek i.queue | i.job::uuid}) s
         cross join lateral (
             select j.ctid as tid, j.id from {job} j
             where j.ctid = s.tid and j.name = i.queue and j.id = i.job::uuid and j.retry_count = i.fence and j.started_on = i.start
               and j.state is not distinct from 'active'
               and {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $5::bigint) > c.now
             offset 0
         ) l
), free as materialized (
    select j.ctid as tid from {job} j
    where j.ctid = any (array(select h.tid from held h)) and j.state is not distinct from 'active'
    for update skip locked
), renewed as (
    update {job} j
    set heartbeat_on = c.now + greatest($5::bigint - j.heartbeat_seconds * 1000000::bigint, 0) * interval '1 microsecond'
    from clock c
    where j.ctid = any (array(select f.tid from free f))
)
select h.ord, coalesce(b.cancel, false) as cancel
from held h left join lateral (
    select x.cancel from {schema}.boss_job x
    where x.boss = '{name}' and x.queue = h.queue and x.job = h.id offset 0
) b on true
