-- Takes ready jobs of one queue as `claim` does, and writes nothing: their rows are locked until this transaction ends, and
-- so is the number of the call. Answers them in no order, with that number, which is not noted yet. `fit`: nothing but this one
-- row says that the job began, it never did before, and may be begun once more.
-- $1 the queue, as the only one of an array, $2 how many, $3 and $4 where the search may begin: priority, and intake,
-- $5 the first call that the book may have.
-- Rides job_i11.
with call as materialized (
    select nextval(pg_get_serial_sequence('{schema}.boss_claim', 'id')) as number
), clock as materialized (
    select t.*, date_trunc('milliseconds', t.now) + nextval('{schema}.claim_number') % 1000 * interval '1 microsecond' as start
    from (
        select {boss}.job_now() as now, {schema}.watched() as watched, l.number as batch,
               pg_try_advisory_xact_lock(hashtextextended('{schema}.boss_claim', l.number)) as alone,
               exists (select from {schema}.boss_job b where b.boss = '{name}' and b.queue = any ($1::text[])) as beside
        from call l
    ) t
), want as materialized (
    select u.queue, $2::bigint as n, $3::integer as priority, $4::timestamptz as floor
    from unnest($1::text[]) as u(queue)
    where not coalesce((select p.paused from {schema}.boss_queue p where p.boss = '{name}' and p.queue = u.queue), false)
), hint as materialized (
    select $5::bigint as first
), {picked}, {dead}
select j.name as queue, j.id as job, j.data::text as data, j.retry_count, j.retry_limit, j.expire_seconds,
       c.start as started_on, j.created_on, j.priority, j.ctid as tid, c.now, c.watched, c.batch,
       case when c.beside then (
           select json_build_array(b.key, b.name, b.options, b.trace, b.life, b.removal is not null)::text
           from {schema}.boss_job b where b.boss = '{name}' and b.queue = j.name and b.job = j.id
       ) end as beside, j.group_id, j.group_tier
       , null::text as trace_context -- before 44
       , j.trace_context::text as trace_context -- from 44
       , c.alone and not c.watched and j.started_on is null and j.retry_count = 0 and j.retry_limit > 0 and j.group_id is null
         and coalesce(j.policy, 'standard') = 'standard' and j.id not in (select d.job from dead d) as fit
from clock c cross join {job} j
where j.ctid = any (array(select tid from picked))
