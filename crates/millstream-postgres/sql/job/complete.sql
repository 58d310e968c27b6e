-- Completes running jobs that stay in history or go at once: what most settles are, in fewer steps than `settle`. All of
-- them, or none where one needs more than that (its claim does not hold, it is to stay for a while, somebody watches).
-- Answers those it took; what a beat moves under it is left. Each is looked for where its claim left it, and by its key
-- where it is no longer there. Nothing is locked first: who deletes the row is who settles it.
-- $1 queues, $2 jobs, $3 claims, $4 outputs, $5 places. Rides job_live_pkey, job_pkey.
with clock as materialized (
    select {schema}.now() as now, {schema}.watched() as watched
), input as materialized (
    select u.* from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[])
         with ordinality as u(queue, job, claim, output, ord)
), near as materialized (
    select count(*) = (select count(*) from input) as whole from {schema}.job_live l
    where l.ctid = any ($5::tid[]) and l.claim = any (array(select distinct i.claim from input i))
      and l.lease_until > (select now from clock) and not (select watched from clock)
      and (l.removal is null or l.removal ->> 'c' = 'true')
), held as materialized (
    select j.tid from near n, clock c, input i cross join lateral (
        select j.ctid as tid from {schema}.job_live j
        where j.queue = i.queue and j.job = i.job and j.claim = i.claim and j.lease_until > c.now
          and (j.removal is null or j.removal ->> 'c' = 'true') offset 0) j
    where not n.whole and not c.watched
), ended as (
    -- The claim is compared again where the row is deleted: a scan by ctid does not look twice at a row that it waited
    -- for, and a claim may have run out meanwhile.
    delete from {schema}.job_live l
    using input i
    where l.ctid = any (case when (select whole from near) then $5::tid[] else array(
              select tid from held where (select count(*) from held) = (select count(*) from input)) end)
      and i.queue = l.queue and i.job = l.job and i.claim = l.claim
    returning l.queue, l.job, l.cancel, l.run_at, l.attempt, l.attempts, l.life, l.started_at, l.error,
              l.removal is null as stays, i.output, i.ord
), kept as (
    insert into {schema}.job_done (queue, job, state, cancel, run_at, attempt, attempts, life, started_at, finished_at,
                                   output, error)
    select e.queue, e.job, 'c', e.cancel, e.run_at, e.attempt, e.attempts, e.life, e.started_at, c.now,
           e.output::json, e.error
    from ended e cross join clock c where e.stays
), erased as (
    delete from {schema}.job b
    where b.ctid = any (array(
        select j.tid from ended e cross join lateral (
            select j.ctid as tid from {schema}.job j where j.queue = e.queue and j.id = e.job offset 0) j
        where not e.stays))
    returning b.queue, b.id, b.key
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
    insert into {schema}.queue_tally (queue, active, completed)
    select e.queue, - count(*), count(*) filter (where e.stays) from ended e group by e.queue
)
select e.ord from ended e
