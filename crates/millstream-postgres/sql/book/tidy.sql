-- Rows of the book that are past their time: those with jobs that still run under their claim, because somebody renews
-- it, stay until the first of these runs out; the others go. Answers whether there may be more to tidy now.
-- $1 at most so many rows. Rides job_live_pkey; the book is small, and read whole.
with clock as materialized (
    select {schema}.now() as now
), past as materialized (
    select b.ctid as tid, b.claim, b.queue, b.jobs from clock c cross join {schema}.job_book b
    where b.until <= c.now order by b.until limit $1::bigint for update of b skip locked
), running as materialized (
    select p.tid, min(l.lease_until) as until, array_agg(l.job order by l.job) as jobs
    from past p cross join lateral unnest(p.jobs) as u(job)
         cross join lateral (
             select j.job, j.lease_until from {schema}.job_live j
             where j.queue = p.queue and j.job = u.job and j.claim = p.claim offset 0
         ) l
    group by p.tid
), kept as (
    update {schema}.job_book b set until = r.until, jobs = r.jobs
    from running r
    where b.ctid = any (array(select tid from running)) and b.ctid = r.tid
), gone as (
    delete from {schema}.job_book b
    where b.ctid = any (array(select p.tid from past p where (p.tid in (select tid from running)) is not true))
)
select (select count(*) from past) = $1::bigint and not exists (select from running r, clock c where r.until <= c.now) as more
