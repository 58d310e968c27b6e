-- Takes jobs off the list that no longer wait: others took them, or they were cancelled. Looks at the first ones of groups
-- that have a free slot. Answers how many. Under `limit_lock`.
-- $1 queue, $2 at most so many groups, $3 at most so many jobs of each, $4 at most so many in all.
-- Rides boss_group_next, boss_waiting_next, job_i7, job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
), heads as materialized (
    select x.* from {schema}.boss_limit l cross join lateral (
        select g.ctid as head, g.grp
        from {schema}.boss_group g cross join lateral (
            select case when g.grp = '' then 1 else l.at_most - count(*) filter (where a.group_id = g.grp) end as free
            from (
                select j.group_id from {job} j
                where j.name = $1::text and j.group_id >= g.grp and j.state = 'active' and j.group_id is not null
                order by j.group_id limit l.at_most
            ) a
        ) f
        where g.boss = '{name}' and g.queue = $1::text and f.free > 0
        order by g.priority desc, g.created_on limit $2::bigint
    ) x
    where l.boss = '{name}' and l.queue = $1::text
), stale as materialized (
    select e.head, e.hint, e.grp, e.job from clock c cross join (
        select h.head, w.hint, h.grp, w.job from heads h cross join lateral (
            select w.ctid as hint, w.job from {schema}.boss_waiting w
            where w.boss = '{name}' and w.queue = $1::text and w.grp = h.grp
            order by w.priority desc, w.created_on, w.job limit $3::bigint
        ) w
        limit $4::bigint
    ) e left join lateral (
        select j.id from ({seek $1::text | e.job}) s cross join lateral (
            select x.id from {job} x
            where x.ctid = s.tid and x.name = $1::text and x.id = e.job and x.state < 'active' and not x.blocked
              and x.start_after <= c.now and coalesce(x.group_id, '') = e.grp offset 0
        ) j
    ) t on true
    where t.id is null
), unlisted as (
    delete from {schema}.boss_waiting w where w.ctid = any (array(select s.hint from stale s))
), led as materialized (
    select g.head, g.grp, n.priority, n.created_on
    from (select distinct s.head, s.grp from stale s) g left join lateral (
        select w.priority, w.created_on from {schema}.boss_waiting w
        where w.boss = '{name}' and w.queue = $1::text and w.grp = g.grp and w.job not in (select s.job from stale s)
        order by w.priority desc, w.created_on, w.job limit 1
    ) n on true
), ended as (
    delete from {schema}.boss_group g where g.ctid = any (array(select l.head from led l where l.priority is null))
), moved as (
    update {schema}.boss_group g set priority = led.priority, created_on = led.created_on from led
    where g.ctid = any (array(select l.head from led l where l.priority is not null)) and g.grp = led.grp
)
select count(*) as stale from stale
