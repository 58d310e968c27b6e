-- Ends attempts, and jobs that are not running: every move of an unfinished job but claim, promote and beat. The fence
-- comes first; what does not hold is not answered. `moved` is false where a beat moved the row between the fence and
-- the write: such a one is settled again.
-- Every return to ready takes a new number: the order is that of becoming ready.
-- $1 queues, $2 jobs, $3 claims, $4 what becomes of each, $5 output or error, $6 waits in microseconds, $7 whether
-- names are asked for.
--   done retry snooze fail cancel release: the claim must hold.
--   expire: the claim must have run out.
--   drop: the job must be waiting or delayed; it is cancelled.
-- Rides job_live_pkey.
with clock as materialized (
    select {schema}.now() as now, {schema}.watched() as watched
), input as materialized (
    select u.* from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])
         with ordinality as u(queue, job, claim, kind, payload, wait, ord)
), held as materialized (
    select i.ord, i.kind, i.payload, i.wait, l.*, c.now, c.watched
    from clock c, input i cross join lateral (
        select j.ctid as tid, j.queue, j.job, j.state, j.cancel, j.run_at, j.attempt, j.attempts, j.life, j.started_at,
               j.error, j.removal
        from {schema}.job_live j
        where j.queue = i.queue and j.job = i.job
          and case i.kind
              when 'drop' then j.state <> 'a'
              when 'expire' then j.claim = i.claim and j.lease_until <= c.now
              else j.claim = i.claim and j.lease_until > c.now end
        for update
    ) l
), aimed as materialized (
    select h.*, case
        when h.kind = 'done' then 'c'
        when h.kind in ('cancel', 'drop') or h.cancel then 'x'
        when h.kind = 'fail' or (h.kind in ('retry', 'expire') and h.attempt >= h.attempts) then 'f'
        when h.wait > 0 then 'd'
        else 'w' end as target
    from held h
), decided as materialized (
    select a.*, case when a.target in ('c', 'f', 'x') and a.removal is not null
                     then a.removal -> case a.target when 'c' then 'c' else 'f' end end as rule
    from aimed a
), gone as (
    delete from {schema}.job_live l
    where l.ctid = any (array(select tid from decided where target in ('c', 'f', 'x')))
    returning l.job
), back as (
    update {schema}.job_live l
    set state = d.target::"char", claim = null, lease_until = null,
        attempt = case when d.kind in ('snooze', 'release') then greatest(d.attempt - 1, 0) else d.attempt end,
        seq = case d.target when 'w' then nextval('{schema}.job_seq') else l.seq end,
        run_at = case d.target when 'd' then d.now + d.wait * interval '1 microsecond' else d.now end,
        error = case when d.kind in ('retry', 'expire') then coalesce(d.payload::json, d.error) else d.error end
    from decided d
    where l.ctid = any (array(select tid from decided where target in ('w', 'd')))
      and d.job = l.job and d.queue = l.queue
    returning l.job, l.run_at
), moved as materialized (
    select d.*, (d.job in (select job from gone)) is true or (d.job in (select job from back)) is true as moved
    from decided d
), ended as materialized (
    select m.* from moved m where m.moved and m.target in ('c', 'f', 'x')
), kept as (
    insert into {schema}.job_done (queue, job, state, cancel, run_at, attempt, attempts, life, started_at, finished_at,
                                   output, error, keep, expires_at)
    select e.queue, e.job, e.target::"char", e.cancel, e.run_at, e.attempt, e.attempts, e.life, e.started_at, e.now,
           case e.target when 'c' then e.payload::json end,
           case e.target when 'c' then e.error else coalesce(e.payload::json, e.error) end,
           (e.rule ->> 'count')::integer, e.now + (e.rule ->> 'ageMs')::bigint * interval '1 millisecond'
    from ended e where e.rule::text is distinct from 'true'
), names as materialized (
    select m.ord, b.name, b.id from moved m cross join lateral (
        select j.name, {schema}.job_id(j.key, j.id, j.created_at) as id
        from {schema}.job j where j.queue = m.queue and j.id = m.job offset 0) b
    where m.moved and ($7::boolean or m.watched)
), erased as (
    delete from {schema}.job b
    where b.ctid = any (array(
        select j.tid from ended e cross join lateral (
            select j.ctid as tid from {schema}.job j where j.queue = e.queue and j.id = e.job offset 0) j
        where e.rule::text = 'true'))
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
    insert into {schema}.queue_tally (queue, waiting, delayed, active, completed, failed, cancelled)
    select m.queue,
           count(*) filter (where m.target = 'w') - count(*) filter (where m.state = 'w'),
           count(*) filter (where m.target = 'd') - count(*) filter (where m.state = 'd'),
           - count(*) filter (where m.state = 'a'),
           count(*) filter (where m.target = 'c' and m.rule::text is distinct from 'true'),
           count(*) filter (where m.target = 'f' and m.rule::text is distinct from 'true'),
           count(*) filter (where m.target = 'x' and m.rule::text is distinct from 'true')
    from moved m where m.moved group by m.queue
)
select m.ord, m.moved, m.target, m.state::text as was, m.attempt, m.now, m.watched, n.name, n.id,
       case m.target when 'd' then m.now + m.wait * interval '1 microsecond' end as due
from moved m left join names n on n.ord = m.ord
order by m.ord
