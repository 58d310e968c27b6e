-- Stores jobs: all of them but those whose id is taken. Answers a row for each that is new, by its place.
-- $1 queues, $2 callers' ids or null, $3 and $4 number and time that such an id would mean if it were ours,
-- $5 names, $6 data, $7 traces, $8 settings, $9 priorities, $10 attempts, $11 due times, $12 delays in microseconds,
-- $13 removals. Rides job_key_pkey, job_pkey.
with clock as materialized (
    select {schema}.now() as now, {schema}.watched() as watched
), input as materialized (
    select u.*, nextval('{schema}.job_seq') as job
    from unnest($1::integer[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
                $8::text[], $9::integer[], $10::integer[], $11::timestamptz[], $12::bigint[], $13::text[])
         with ordinality as u(queue, key, twin, twin_at, name, data, trace, settings, priority, attempts, due, delay,
                              removal, ord)
), twins as materialized (
    select i.ord from input i cross join lateral (
        select from {schema}.job j
        where j.queue = i.queue and j.id = i.twin and j.key is null and j.created_at = i.twin_at offset 0) j
    where i.twin is not null
), keyed as (
    insert into {schema}.job_key (queue, key, job)
    select i.queue, i.key, i.job from input i
    where i.key is not null and (i.ord in (select ord from twins)) is not true
    order by i.queue, i.key, i.ord
    on conflict do nothing
    returning job
), fresh as materialized (
    select i.*, c.now, coalesce(i.due, c.now + i.delay * interval '1 microsecond', c.now) as at,
           coalesce(i.due, c.now + i.delay * interval '1 microsecond', c.now) > c.now as delayed, c.watched
    from input i cross join clock c
    where i.key is null or (i.job in (select job from keyed)) is true
), bodies as (
    insert into {schema}.job (queue, id, key, name, data, trace, settings, created_at)
    select f.queue, f.job, f.key, f.name, f.data::json, f.trace::json, f.settings::json, f.now from fresh f
), lives as (
    insert into {schema}.job_live (queue, job, state, priority, seq, run_at, attempts, removal)
    select f.queue, f.job, case when f.delayed then 'd' else 'w' end::"char", f.priority, f.job,
           greatest(f.at, f.now), f.attempts, f.removal::json
    from fresh f
), tallied as (
    insert into {schema}.queue_tally (queue, waiting, delayed)
    select f.queue, count(*) filter (where not f.delayed), count(*) filter (where f.delayed)
    from fresh f group by f.queue
)
select f.ord, f.job, f.now as created_at, f.delayed, f.at as run_at, f.watched from fresh f order by f.ord
