-- Takes ready jobs of many queues: by priority, then in the order in which they became ready; paused queues skipped.
-- What is more urgent than the floor's priority is looked at whole, the rest from the floor on: so a held horizon,
-- which keeps the entries of taken jobs in the index, does not slow the search.
-- Bodies leave as they are stored, uncast: a cast would unpack them before the sort, and a batch of large ones would be
-- sorted on disk.
-- $1 queues, $2 how many of each, $3 and $4 the floor's priority and number of each, $5 how many in all, $6 lease in
-- microseconds, $7 salt of the claims. Rides job_ready, then job_pkey.
with clock as materialized (
    select {schema}.now() as now, {schema}.watched() as watched
), want as materialized (
    select u.* from unnest($1::integer[], $2::bigint[], $3::integer[], $4::bigint[]) as u(queue, n, priority, seq)
    cross join lateral (select q.paused from {schema}.queue q where q.id = u.queue offset 0) q
    where not q.paused
), urgent as materialized (
    select x.* from want w cross join lateral (
        select l.ctid as tid, l.queue, l.priority, l.seq from {schema}.job_live l
        where l.queue = w.queue and l.state = 'w' and l.priority < w.priority
        order by l.priority, l.seq limit w.n for update skip locked
    ) x
), rest as materialized (
    select x.* from want w cross join lateral (
        select l.ctid as tid, l.queue, l.priority, l.seq from {schema}.job_live l
        where l.queue = w.queue and l.state = 'w' and (l.priority, l.seq) > (w.priority, w.seq)
        order by l.priority, l.seq limit w.n - (select count(*) from urgent u where u.queue = w.queue)
        for update skip locked
    ) x
), picked as materialized (
    select x.tid from (select * from urgent union all select * from rest) x
    order by x.priority, x.seq limit $5::bigint
), taken as (
    update {schema}.job_live l
    set state = 'a', claim = (nextval('{schema}.claim_seq') << 16) | $7::bigint, attempt = l.attempt + 1,
        started_at = c.now, lease_until = c.now + $6::bigint * interval '1 microsecond'
    from clock c
    where l.ctid = any (array(select tid from picked))
    returning l.queue, l.job, l.claim, l.life, l.attempt, l.attempts, l.priority, l.seq, c.now, c.watched
), tallied as (
    insert into {schema}.queue_tally (queue, waiting, active)
    select t.queue, -count(*), count(*) from taken t group by t.queue
)
select t.queue, t.job, t.claim, t.life, t.attempt, t.attempts, t.priority, t.seq, t.now, t.watched,
       b.key, b.created_at, b.name, b.data, b.trace, b.settings
from taken t cross join lateral (
    select j.key, j.created_at, j.name, j.data, j.trace, j.settings
    from {schema}.job j where j.queue = t.queue and j.id = t.job offset 0
) b
order by t.priority, t.seq
