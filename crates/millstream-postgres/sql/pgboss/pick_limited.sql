-- Part of `claim`: the jobs of a queue whose groups are limited: of each group the first ones, no more than it has free
-- slots, whoever holds the others. The first jobs of a queue are those of the groups that come first, so a group without a
-- free slot costs a look at its running jobs, however many of it wait. Under `limit_lock`.
-- Rides boss_group_next, boss_waiting_next, job_i7, job_pkey.
own as materialized (
    select w.queue, w.n, l.at_most from want w join {schema}.boss_limit l on l.boss = '{name}' and l.queue = w.queue
), heads as materialized (
    select x.* from own o cross join lateral (
        select o.queue, o.n, g.ctid as head, g.grp, f.free
        from {schema}.boss_group g cross join lateral (
            select case when g.grp = '' then o.n else o.at_most - count(*) filter (where a.group_id = g.grp) end as free
            from (
                select j.group_id from {job} j
                where j.name = o.queue and j.group_id >= g.grp and j.state = 'active' and j.group_id is not null
                order by j.group_id limit o.at_most
            ) a
        ) f
        where g.boss = '{name}' and g.queue = o.queue and f.free > 0
        order by g.priority desc, g.created_on limit o.n
    ) x
), first as materialized (
    select h.queue, h.head, h.grp, w.* from heads h cross join lateral (
        select w.ctid as hint, w.job, w.priority, w.created_on from {schema}.boss_waiting w
        where w.boss = '{name}' and w.queue = h.queue and w.grp = h.grp
        order by w.priority desc, w.created_on, w.job limit least(h.free, h.n)
    ) w
    order by w.priority desc, w.created_on, w.job limit (select o.n from own o)
), picked as materialized (
    select l.tid, f.head, f.hint, f.queue, f.grp, f.job, f.job as id
    from clock c cross join first f cross join lateral ({seek f.queue | f.job}) s cross join lateral (
        select j.ctid as tid from {job} j
        where j.ctid = s.tid and j.name = f.queue and j.id = f.job and j.state < 'active' and not j.blocked
          and j.start_after <= c.now and coalesce(j.group_id, '') = f.grp
        for update skip locked
    ) l
), unlisted as (
    delete from {schema}.boss_waiting w where w.ctid = any (array(select p.hint from picked p))
), led as materialized (
    select g.head, g.grp, n.priority, n.created_on
    from (select distinct p.head, p.queue, p.grp from picked p) g left join lateral (
        select w.priority, w.created_on from {schema}.boss_waiting w
        where w.boss = '{name}' and w.queue = g.queue and w.grp = g.grp and w.job not in (select p.job from picked p)
        order by w.priority desc, w.created_on, w.job limit 1
    ) n on true
), ended as (
    delete from {schema}.boss_group g where g.ctid = any (array(select l.head from led l where l.priority is null))
), moved as (
    update {schema}.boss_group g set priority = led.priority, created_on = led.created_on from led
    where g.ctid = any (array(select l.head from led l where l.priority is not null)) and g.grp = led.grp
)
