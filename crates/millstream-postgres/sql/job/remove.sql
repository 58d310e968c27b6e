-- Removes jobs in whatever state; their ids are free again. One that moves meanwhile is answered with `moved` false,
-- and removed again.
-- $1 queues, $2 jobs. Rides primary keys.
with input as materialized (
    select u.* from unnest($1::integer[], $2::bigint[]) with ordinality as u(queue, job, ord)
), body as materialized (
    select i.ord, b.* from input i cross join lateral (
        select j.ctid as tid, j.queue, j.id, j.key, j.name, j.created_at
        from {schema}.job j where j.queue = i.queue and j.id = i.job for update) b
), live as materialized (
    select x.* from body b cross join lateral (
        select l.ctid as tid, l.job, l.queue, l.state, l.attempt from {schema}.job_live l
        where l.queue = b.queue and l.job = b.id for update) x
), done as materialized (
    select x.* from body b cross join lateral (
        select d.ctid as tid, d.job, d.queue, d.state, d.attempt from {schema}.job_done d
        where d.queue = b.queue and d.state = any ('{c,f,x}') and d.job = b.id for update) x
), unlive as (
    delete from {schema}.job_live l where l.ctid = any (array(select tid from live))
    returning l.queue, l.job, l.state, l.attempt
), undone as (
    delete from {schema}.job_done d where d.ctid = any (array(select tid from done))
    returning d.queue, d.job, d.state, d.attempt
), removed as materialized (
    select * from unlive union all select * from undone
), erased as (
    delete from {schema}.job j
    where j.ctid = any (array(select b.tid from body b where (b.id in (select job from removed)) is true))
    returning j.queue, j.id, j.key
), freed as (
    delete from {schema}.job_key k
    where k.ctid = any (array(
        select x.tid from erased e cross join lateral (
            select k.ctid as tid from {schema}.job_key k where k.queue = e.queue and k.key = e.key offset 0) x
        where e.key is not null))
), forgotten as (
    delete from {schema}.job_progress p
    where p.ctid = any (array(
        select x.tid from erased e cross join lateral (
            select p.ctid as tid from {schema}.job_progress p where p.queue = e.queue and p.job = e.id offset 0) x))
), tallied as (
    insert into {schema}.queue_tally (queue, waiting, delayed, active, completed, failed, cancelled)
    select r.queue, -count(*) filter (where r.state = 'w'), -count(*) filter (where r.state = 'd'),
           -count(*) filter (where r.state = 'a'), -count(*) filter (where r.state = 'c'),
           -count(*) filter (where r.state = 'f'), -count(*) filter (where r.state = 'x')
    from removed r group by r.queue
)
select b.queue, b.id as job, b.name, {schema}.job_id(b.key, b.id, b.created_at) as id, r.job is not null as moved,
       r.state::text as was, r.attempt, {schema}.now() as now, {schema}.watched() as watched
from body b left join removed r on r.job = b.id and r.queue = b.queue
