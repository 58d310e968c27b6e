-- Ends attempts, and jobs that are not running: settled, given back, rescued, cancelled. What pg-boss does by deleting
-- the row and inserting it again is an update here, with the same end: where a policy has no place for a job that is to
-- run again, it is failed; a failed job's copy goes to its dead letter queue.
-- The fence comes first; what does not hold is not answered. A beat may move the row after this statement began: it is
-- locked where it is now, by its key, and written where the statement saw it (`seen`), from where Postgres follows it. `moved`
-- is false where it slipped away nonetheless: such a one is settled again.
-- $1 queues, $2 jobs, $3 attempts, $4 starts, $5 what becomes of each, $6 output or error, $7 waits in microseconds,
-- $8 lease in microseconds.
--   done retry snooze fail cancel release: the claim must hold.
--   expire: the claim must have run out. time: it ran too long or its heartbeat stopped, by pg-boss's rules.
--   crash: the job must be waiting since before the start, which was not written, and never have started otherwise.
--   finish: the job must run, whoever holds it. break: it must not be finished; it is to be repeated, or failed.
--   drop: the job must be waiting or delayed; it is cancelled. stop: the job must be running, without a claim of ours.
-- Rides job_pkey, boss_job_pkey.
with clock as materialized (
    select {boss}.job_now() as now, {schema}.watched() as watched
), input as materialized (
    select u.* from unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[], $5::text[], $6::text[], $7::bigint[])
         with ordinality as u(queue, job, fence, start, kind, payload, wait, ord)
), held as materialized (
    select i.ord, i.kind, i.payload, i.wait, i.start, s.tid as seen, l.*, c.now, c.watched
    from clock c cross join input i cross join lateral ({seek i.queue | i.job::uuid}) s cross join lateral (
        select j.ctid as tid, j.* from {job} j
        where j.name = i.queue and j.id >= i.job::uuid and j.id <= i.job::uuid and case i.kind
              when 'drop' then j.state < 'active'
              when 'crash' then j.state < 'active' and j.started_on is null and j.retry_count = 0
                   and j.start_after < i.start + interval '1 millisecond'
              when 'finish' then j.state = 'active'
              when 'break' then j.state <= 'active'
              when 'stop' then j.state = 'active' and not exists (
                  select from {schema}.boss_claim b
                  where b.boss = '{name}' and b.started = j.started_on and j.id = any (b.jobs))
              else j.state = 'active' and j.retry_count = i.fence and j.started_on = i.start and case i.kind
                  when 'time' then true
                  when 'expire' then {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $8::bigint) <= c.now
                  else {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $8::bigint) > c.now end
              end
        order by j.id limit 1
        for update
    ) l
), known as materialized (
    select h.*, b.beside, b.key, b.job_name, b.removal, coalesce(b.cancel, false) as cancel
    from held h left join lateral (
        select x.ctid as beside, x.key, x.name as job_name, x.removal, x.cancel from {schema}.boss_job x
        where x.boss = '{name}' and x.queue = h.name and x.job = h.id offset 0
    ) b on true
), meant as materialized (
    select k.*, case
        when k.kind in ('done', 'finish') then 'completed'
        when k.kind in ('cancel', 'drop', 'stop') or k.cancel then 'cancelled'
        when k.kind = 'fail' or (k.kind in ('retry', 'expire', 'crash', 'time', 'break') and k.retry_count >= k.retry_limit) then 'failed'
        when k.kind in ('snooze', 'release') then 'created'
        else 'retry' end as aim
    from known k
), crowded as materialized (
    -- A policy keeps some jobs from waiting: where one of the key waits already, or goes back in the same batch.
    select m.ord, m.aim, m.policy, x.created, x.retry,
           row_number() over (partition by m.name, m.policy, coalesce(m.singleton_key, ''), m.aim order by m.ord) as turn
    from meant m cross join lateral (
        select coalesce(bool_or(o.state = 'created'), false) as created, coalesce(bool_or(o.state = 'retry'), false) as retry
        from {job} o
        where o.name = m.name and o.state < 'active' and o.policy = m.policy
          and coalesce(o.singleton_key, '') = coalesce(m.singleton_key, '') and o.id <> m.id
    ) x
    where m.aim in ('created', 'retry') and m.policy in ('short', 'stately')
), aimed as materialized (
    select m.*, coalesce(case
        when w.aim = 'created' and (w.created or w.turn > 1)
            then case when w.policy = 'stately' and (w.retry or w.turn > 1) then 'failed' else 'retry' end
        when w.aim = 'retry' and w.policy = 'stately' and (w.retry or w.turn > 1) then 'failed'
        end, m.aim) as target
    from meant m left join lateral (select * from crowded w where w.ord = m.ord offset 0) w on true
), decided as materialized (
    select a.*, case when a.target in ('completed', 'failed', 'cancelled') and a.removal is not null
                     then a.removal -> case a.target when 'completed' then 'c' else 'f' end end as rule
    from aimed a
), gone as (
    delete from {job} j
    where j.ctid = any (array(select unnest(array[seen, tid]) from decided where rule::text = 'true'))
    returning j.name, j.id
), back as (
    update {job} j
    set state = d.target::{boss}.job_state,
        completed_on = case when d.target in ('completed', 'failed', 'cancelled') then d.now end,
        started_on = case when d.target in ('created', 'retry') and d.kind in ('snooze', 'release') then null
                          when d.kind = 'crash' then d.start else j.started_on end,
        heartbeat_on = case when d.target = 'completed' then j.heartbeat_on end,
        start_after = case when d.target in ('created', 'retry') then d.now + d.wait * interval '1 microsecond'
                           else j.start_after end,
        upsert_by_key = case when d.target = 'completed' then j.upsert_by_key end, -- from 45
        output = case when d.kind in ('snooze', 'release') and d.target in ('created', 'retry') then j.output
                      when d.target = 'completed' then d.payload::jsonb
                      else coalesce(d.payload::jsonb, j.output) end
    from decided d
    where j.ctid = any (array(select unnest(array[seen, tid]) from decided where rule::text is distinct from 'true'))
      and d.id = j.id and d.name = j.name
    returning j.name, j.id
), moved as materialized (
    select d.*, ((d.name, d.id) in (select g.name, g.id from gone g)) is true
             or ((d.name, d.id) in (select b.name, b.id from back b)) is true as moved
    from decided d
), buried as (
    insert into {boss}.job (name, data, priority, singleton_key, group_id, group_tier, retry_limit, retry_delay, retry_backoff,
                            expire_seconds, deletion_seconds, heartbeat_seconds, keep_until, start_after, created_on,
                            trace_context, -- from 44
                            source_name, source_id, source_created_on, source_retry_count, source_output, source_root_id)
    select q.name, m.data, m.priority, m.singleton_key, m.group_id, m.group_tier, q.retry_limit, q.retry_delay, q.retry_backoff,
           q.expire_seconds, q.deletion_seconds, q.heartbeat_seconds, m.now + q.retention_seconds * interval '1 second',
           m.now, m.now,
           m.trace_context, -- from 44
           m.name, m.id, m.created_on, m.retry_count, m.payload::jsonb, coalesce(m.source_root_id, m.id)
    from moved m cross join lateral (select x.* from {boss}.queue x where x.name = m.dead_letter offset 0) q
    where m.moved and m.target = 'failed' and m.dead_letter is not null
    on conflict do nothing
), kept as (
    update {schema}.boss_job b
    set done = (case m.target when 'completed' then 'c' when 'failed' then 'f' else 'x' end)::"char", done_at = m.now, keep = (m.rule ->> 'count')::integer,
        expires_at = m.now + (m.rule ->> 'ageMs')::bigint * interval '1 millisecond'
    from moved m
    where m.moved and m.rule is not null and m.rule::text not in ('true', 'false')
      and b.ctid = any (array(select x.beside from decided x where x.rule::text not in ('true', 'false')))
      and b.queue = m.name and b.job = m.id
), forgotten as (
    delete from {schema}.boss_job b where b.ctid = any (array(select x.beside from decided x where x.rule::text = 'true'))
)
select m.ord, m.moved, m.target, m.retry_count, m.started_on is not null as started, m.now, m.watched, m.name as queue,
       m.id::text as job, m.key, m.job_name as name, m.data::text as data,
       case when m.target in ('created', 'retry') then m.now + m.wait * interval '1 microsecond' end as due,
       case when m.moved and m.target = 'failed' then m.dead_letter end as dead_letter
from moved m
order by m.ord
