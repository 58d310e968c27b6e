-- Lists the jobs of a queue that became ready since it was done last. pg-boss's own processes move `start_after` to now
-- whenever a job becomes ready, so what is new is behind `seen`; a transaction may commit a little later than it began,
-- so the last seconds are read again. What came further into the past is found by a look over all, now and then.
-- Answers whether there may be more. Under `limit_lock`.
-- $1 queue, $2 so many at once, $3 how long a transaction may take, in microseconds. Rides job_i14, boss_waiting_pkey.
with clock as materialized (
    select {boss}.job_now() as now
), own as materialized (
    select case when l.seen <= c.now then l.seen else '-infinity' end as seen,
           l.look_at <= c.now or l.look_at > c.now + interval '1 hour' as looks,
           false as blocked -- no constant: job_i11, which has not the order that is asked for, must not do for it
    from clock c cross join {schema}.boss_limit l
    where l.boss = '{name}' and l.queue = $1::text
), fresh as materialized (
    select s.state, x.*
    from clock c cross join own o cross join (values ('created'::{boss}.job_state), ('retry')) as s(state) cross join lateral (
        select j.id, j.group_id, j.priority, j.created_on, j.start_after from {job} j
        where j.name = $1::text and j.state = s.state and j.state in ('created', 'retry') and j.blocked = o.blocked
          and j.start_after > o.seen and j.start_after <= c.now
        order by j.start_after fetch first ($2::bigint) rows with ties
    ) x
), late as materialized (
    select x.*
    from own o cross join (values ('created'::{boss}.job_state), ('retry')) as s(state) cross join lateral (
        select j.id, j.group_id, j.priority, j.created_on from {job} j
        where o.looks and j.name = $1::text and j.state = s.state and j.state in ('created', 'retry') and j.blocked = o.blocked
          and j.start_after <= o.seen
        order by j.start_after
    ) x
), unlisted as materialized (
    select coalesce(x.group_id, '') as grp, x.priority, x.created_on, x.id
    from (select f.id, f.group_id, f.priority, f.created_on from fresh f
          union all select l.id, l.group_id, l.priority, l.created_on from late l) x
    where not exists (
        -- To a planner that knows nothing of the list, only the order tells its two indexes apart.
        select from (
            select w.job from {schema}.boss_waiting w
            where w.boss = '{name}' and w.queue = $1::text and w.job >= x.id order by w.job limit 1
        ) n
        where n.job = x.id offset 0)
), listed as (
    insert into {schema}.boss_waiting (boss, queue, grp, priority, created_on, job)
    select '{name}', $1::text, u.grp, u.priority, u.created_on, u.id from unlisted u
    on conflict do nothing
), led as (
    insert into {schema}.boss_group as g (boss, queue, grp, priority, created_on)
    select distinct on (u.grp) '{name}', $1::text, u.grp, u.priority, u.created_on from unlisted u
    order by u.grp, u.priority desc, u.created_on
    on conflict (boss, queue, grp) do update set priority = excluded.priority, created_on = excluded.created_on
    where (excluded.priority, g.created_on) > (g.priority, excluded.created_on)
), reach as materialized (
    -- What was cut off is behind the last one that was read.
    select c.now, coalesce(min(f.last), c.now - $3::bigint * interval '1 microsecond') as seen, count(f.last) > 0 as more
    from clock c left join (
        select max(x.start_after) as last from fresh x group by x.state having count(*) >= $2::bigint
    ) f on true
    group by c.now
), moved as (
    update {schema}.boss_limit l
    set seen = greatest(o.seen, r.seen),
        look_at = case when o.looks then r.now + interval '10 seconds' + (select count(*) from late) * interval '100 microseconds'
                       else l.look_at end
    from own o cross join reach r
    where l.boss = '{name}' and l.queue = $1::text
      and (o.looks or exists (select from fresh f where f.start_after <= r.seen))
)
select r.more from reach r
