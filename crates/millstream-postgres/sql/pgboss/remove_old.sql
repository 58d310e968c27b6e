-- Removes a queue's jobs past their time, one stretch of ids: finished ones past their keep, and those that nobody started
-- in theirs. Running ones stay. Answers where the stretch ends, and what stays.
-- $1 queue, $2 after this id, $3 ids of the stretch. Rides job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
), stretch as materialized (
    select x.*, (x.deletion_seconds > 0 and x.completed_on + x.deletion_seconds * interval '1 second' < c.now)
                or (x.state < 'active' and x.keep_until < c.now) as old
    from clock c cross join lateral (
        select j.ctid as tid, j.id, j.state, j.deletion_seconds, j.completed_on, j.keep_until from {job} j
        where j.name = $1::text and j.id > $2::text::uuid order by j.id limit $3::bigint
    ) x
), gone as (
    delete from {job} j
    where j.ctid = any (array(select s.tid from stretch s where s.old is true))
      and j.name = $1::text and j.state <> 'active'
    returning j.id
), forgotten as (
    delete from {schema}.boss_job b
    where b.ctid = any (array(
        select x.tid from gone g cross join lateral (
            select k.ctid as tid from {schema}.boss_job k
            where k.boss = '{name}' and k.queue = $1::text and k.job = g.id offset 0) x))
)
select (select s.id::text from stretch s order by s.id desc limit 1) as last, (select count(*) from stretch) as seen,
       (select count(*) from gone) as gone,
       (select count(*) from stretch s where s.old is not true and s.state in ('completed', 'cancelled')) as retained,
       (select count(*) from stretch s where s.old is not true and s.state not in ('completed', 'cancelled')) as live
