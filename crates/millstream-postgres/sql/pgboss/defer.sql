-- Takes ready jobs of one queue as `claim` does, and writes nothing: their rows are locked until this transaction ends.
-- Answers them in no order, with the number of a call that is not noted yet. `fit`: nothing but this one row says that the
-- job began, and it may be begun once more.
-- $1 the queue, $2 how many, $3 and $4 where the search may begin: priority, and intake.
-- Rides job_i11.
with clock as materialized (
    select t.*, date_trunc('milliseconds', t.now) + nextval('{schema}.claim_number') % 1000 * interval '1 microsecond' as start
    from (
        select {boss}.job_now() as now, {schema}.watched() as watched,
               nextval(pg_get_serial_sequence('{schema}.boss_claim', 'id')) as batch,
               exists (select from {schema}.boss_job b where b.boss = '{name}' and b.queue = $1::text) as beside
    ) t
), want as materialized (
    select $1::text as queue, $2::bigint as n, $3::integer as priority, $4::timestamptz as floor
    where not coalesce((select p.paused from {schema}.boss_queue p where p.boss = '{name}' and p.queue = $1::text), false)
), {picked}
select j.name as queue, j.id as job, j.data::text as data, j.retry_count, j.retry_limit, j.expire_seconds,
       c.start as started_on, j.created_on, j.priority, j.ctid as tid, c.now, c.watched, c.batch,
       case when c.beside then (
           select json_build_array(b.key, b.name, b.options, b.trace, b.life, b.removal is not null)::text
           from {schema}.boss_job b where b.boss = '{name}' and b.queue = j.name and b.job = j.id
       ) end as beside, j.group_id, j.group_tier
       , null::text as trace_context -- before 44
       , j.trace_context::text as trace_context -- from 44
       , not c.watched and j.started_on is null and j.retry_limit > 0 and j.group_id is null
         and coalesce(j.policy, 'standard') = 'standard' as fit
from clock c cross join {job} j
where j.ctid = any (array(select tid from picked))
