-- Takes ready jobs of many queues of one table, in the order in which pg-boss fetches them: by priority, then by intake.
-- The attempt is counted here, where an earlier one was started. What makes a claim its own is when it started: to the
-- millisecond, with a number of ours below it.
-- $1 queues, $2 how many of each, $3 lease in microseconds, $4 earlier calls whose jobs are all settled, $5 and $6 where
-- the search may begin in each: priority, and intake.
-- Rides job_i11.
with clock as materialized (
    select {boss}.job_now() as now, {schema}.watched() as watched, nextval('{schema}.claim_seq') % 1000 as salt
), want as materialized (
    select u.* from unnest($1::text[], $2::bigint[], $5::integer[], $6::timestamptz[]) as u(queue, n, priority, floor)
    where not coalesce((select p.paused from {schema}.boss_queue p where p.boss = '{name}' and p.queue = u.queue), false)
), {picked}, taken as (
    update {job} j
    set state = 'active', retry_count = j.retry_count + (j.started_on is not null)::integer,
        started_on = date_trunc('milliseconds', c.now) + c.salt * interval '1 microsecond',
        heartbeat_on = c.now + greatest($3::bigint - j.heartbeat_seconds * 1000000::bigint, 0) * interval '1 microsecond'
    from clock c
    where j.ctid = any (array(select tid from picked))
    returning j.*, j.ctid as tid, c.now, c.watched
), noted as (
    insert into {schema}.boss_claim (boss, at, started, queues, jobs)
    select '{name}', t.now, t.started_on, array_agg(t.name), array_agg(t.id) from taken t group by t.now, t.started_on
    returning id
), over as (
    delete from {schema}.boss_claim b where b.id = any ($4::bigint[])
)
select t.name as queue, t.id::text as job, t.data::text as data, t.retry_count, t.retry_limit, t.expire_seconds, t.started_on,
       t.created_on, t.priority, t.group_id, t.group_tier, t.tid, t.now, t.watched, n.id as batch,
       t.trace_context::text as trace_context, -- from 44
       h.key, h.name, h.options::text as options, h.trace::text as trace, h.life, coalesce(h.beside, false) as beside
from taken t cross join noted n left join lateral (
    select b.key, b.name, b.options, b.trace, b.life, b.removal is not null as beside
    from {schema}.boss_job b where b.boss = '{name}' and b.queue = t.name and b.job = t.id offset 0
) h on true
order by t.name, t.priority desc, t.created_on
