-- Takes ready jobs of many queues: by priority, then in the order in which they became ready; paused queues skipped.
-- Writes no index but the book's: what it changes of a job is in none. So the index of ready jobs has those that run, too,
-- and they are passed over. What is more urgent than the floor's priority is looked at whole, the rest from the floor on:
-- neither jobs that run nor those that a held horizon keeps in the index slow the search.
-- Bodies leave as they are stored, uncast: a cast would unpack them before the sort, and a batch of large ones would be
-- sorted on disk.
-- All jobs of a call have one claim number, which is the book's.
-- $1 queues, $2 how many of each, $3 and $4 the floor's priority and number of each, $5 how many in all, $6 lease in
-- microseconds, $7 salt of the claim, $8 earlier claims whose jobs are all settled. Rides job_ready, then job_pkey.
with clock as materialized (
    select {schema}.now() as now, {schema}.watched() as watched
), want as materialized (
    select u.* from unnest($1::integer[], $2::bigint[], $3::integer[], $4::bigint[]) as u(queue, n, priority, seq)
    cross join lateral (select q.paused from {schema}.queue q where q.id = u.queue offset 0) q
    where not q.paused
), urgent as materialized (
    select x.* from want w cross join lateral (
        select l.ctid as tid, l.queue, l.priority, l.seq from {schema}.job_live l
        where l.queue = w.queue and not l.delayed and l.state = 'w' and l.priority < w.priority
        order by l.priority, l.seq limit w.n for update skip locked
    ) x
), rest as materialized (
    select x.* from want w cross join lateral (
        select l.ctid as tid, l.queue, l.priority, l.seq from {schema}.job_live l
        where l.queue = w.queue and not l.delayed and l.state = 'w' and (l.priority, l.seq) > (w.priority, w.seq)
        order by l.priority, l.seq limit w.n - (select count(*) from urgent u where u.queue = w.queue)
        for update skip locked
    ) x
), picked as materialized (
    select x.tid from (select * from urgent union all select * from rest) x
    order by x.priority, x.seq limit $5::bigint
), numbered as materialized (
    select (nextval('{schema}.claim_number') << 16) | $7::bigint as claim where exists (select from picked)
), taken as (
    update {schema}.job_live l
    set state = 'a', claim = n.claim, attempt = l.attempt + 1,
        started_at = c.now, lease_until = c.now + $6::bigint * interval '1 microsecond'
    from clock c, numbered n
    where l.ctid = any (array(select tid from picked))
    returning l.ctid as tid, l.queue, l.job, l.claim, l.life, l.attempt, l.attempts, l.priority, l.seq, l.lease_until,
              c.now, c.watched
), tallied as (
    insert into {schema}.queue_tally (queue, waiting, active)
    select t.queue, -count(*), count(*) from taken t group by t.queue
), booked as (
    insert into {schema}.job_book (claim, queue, until, jobs)
    select t.claim, t.queue, t.lease_until, array_agg(t.job) from taken t group by t.claim, t.queue, t.lease_until
), over as (
    delete from {schema}.job_book b where b.claim = any ($8::bigint[])
)
select t.queue, t.job, t.claim, t.life, t.attempt, t.attempts, t.priority, t.seq, t.now, t.watched, t.tid,
       b.key, b.created_at, b.name, b.data, b.trace, b.settings
from taken t cross join lateral (
    select j.key, j.created_at, j.name, j.data, j.trace, j.settings
    from {schema}.job j where j.queue = t.queue and j.id = t.job offset 0
) b
order by t.priority, t.seq
