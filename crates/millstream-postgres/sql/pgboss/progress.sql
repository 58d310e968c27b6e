-- Notes the progress of jobs whose claims hold. Answers a row for each.
-- $1 queues, $2 jobs, $3 attempts, $4 starts, $5 values, $6 lease in microseconds. Rides job_pkey, boss_job_pkey.
with clock as materialized (
    select {boss}.job_now() as now, {schema}.watched() as watched
), held as materialized (
    select i.ord, i.queue, i.value, l.* from clock c,
         unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[], $5::text[])
              with ordinality as i(queue, job, fence, start, value, ord)
         cross join lateral ({seek i.queue | i.job::uuid}) s
         cross join lateral (
             select j.id, j.retry_count, j.data from {job} j
             where j.ctid = s.tid and j.name = i.queue and j.id = i.job::uuid and j.retry_count = i.fence and j.started_on = i.start
               and j.state is not distinct from 'active'
               and {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $6::bigint) > c.now
             for share
         ) l
), noted as (
    insert into {schema}.boss_job as b (boss, queue, job, progress)
    select '{name}', h.queue, h.id, h.value::json from held h order by h.queue, h.id
    on conflict (boss, queue, job) do update set progress = excluded.progress
)
select h.ord, h.retry_count, h.data::text as data, c.now, c.watched, b.name
from held h cross join clock c left join lateral (
    select x.name from {schema}.boss_job x
    where x.boss = '{name}' and x.queue = h.queue and x.job = h.id offset 0
) b on true
