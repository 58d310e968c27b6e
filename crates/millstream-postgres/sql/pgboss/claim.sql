-- Takes ready jobs of many queues of one table, those that pg-boss fetches first: by priority, then by intake.
-- The attempt is counted here, where an earlier one was started, whether or not that was written. What makes a claim its own is when it started: to the
-- millisecond, with a number of ours below it. Answers the jobs in no order; what lies beside a job as one array.
-- $1 queues, $2 how many of each, $3 lease in microseconds, $4 earlier calls whose jobs are all settled, $5 and $6 where
-- the search may begin in each: priority, and intake, $7 the first call that the book may have.
-- Rides job_i11.
with clock as materialized (
    select t.*, date_trunc('milliseconds', t.now) + nextval('{schema}.claim_number') % 1000 * interval '1 microsecond' as start
    from (
        select {boss}.job_now() as now, {schema}.watched() as watched,
               exists (select from {schema}.boss_job b where b.boss = '{name}' and b.queue = any ($1::text[])) as beside
    ) t
), want as materialized (
    select u.* from unnest($1::text[], $2::bigint[], $5::integer[], $6::timestamptz[]) as u(queue, n, priority, floor)
    where not coalesce((select p.paused from {schema}.boss_queue p where p.boss = '{name}' and p.queue = u.queue), false)
), hint as materialized (
    select $7::bigint as first
), {picked}, {dead}, noted as (
    insert into {schema}.boss_claim (boss, at, started, queues, jobs)
    select '{name}', c.now, c.start, case cardinality($1::text[]) when 1 then $1::text[] else array_agg(p.queue) end,
           array_agg(p.id)
    from clock c cross join picked p group by c.now, c.start
    returning id
), over as (
    delete from {schema}.boss_claim b where b.id = any ($4::bigint[])
)
update {job} j
set state = 'active', started_on = c.start,
    retry_count = j.retry_count + (
        j.started_on is not null
        or j.retry_count = 0 and j.id in (select d.job from dead d)
           and j.start_after < (select max(d.started) from dead d) + interval '1 millisecond')::integer,
    heartbeat_on = c.now + greatest($3::bigint - j.heartbeat_seconds * 1000000::bigint, 0) * interval '1 microsecond'
from clock c cross join noted n
where j.ctid = any (array(select tid from picked))
returning j.name as queue, j.id as job, j.data::text as data, j.retry_count, j.retry_limit, j.expire_seconds, j.started_on,
          j.created_on, j.priority, j.ctid as tid, c.now, c.watched, n.id as batch,
          case when c.beside then (
              select json_build_array(b.key, b.name, b.options, b.trace, b.life, b.removal is not null)::text
              from {schema}.boss_job b where b.boss = '{name}' and b.queue = j.name and b.job = j.id
          ) end as beside, j.group_id, j.group_tier
          , j.trace_context::text as trace_context -- from 44
