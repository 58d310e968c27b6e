-- Part of `claim`: the jobs of queues whose policy keeps no job from running. A held horizon keeps the entries of taken
-- jobs in the index; so a search may begin behind them: with higher priorities, then at the place, then with lower ones.
picked as materialized (
    select w.queue, x.id, x.tid from clock c cross join want w cross join lateral (
        select a.tid, a.id from (
            select j.ctid as tid, j.id from {job} j
            where j.name = w.queue and j.state < 'active' and not j.blocked and j.start_after <= c.now
              and j.priority > w.priority
            order by j.priority desc, j.created_on limit w.n for update skip locked
        ) a
        union all
        select a.tid, a.id from (
            select j.ctid as tid, j.id from {job} j
            where j.name = w.queue and j.state < 'active' and not j.blocked and j.start_after <= c.now
              and j.priority = w.priority and j.created_on >= w.floor
            order by j.priority desc, j.created_on limit w.n for update skip locked
        ) a
        union all
        select a.tid, a.id from (
            select j.ctid as tid, j.id from {job} j
            where j.name = w.queue and j.state < 'active' and not j.blocked and j.start_after <= c.now
              and j.priority < w.priority
            order by j.priority desc, j.created_on limit w.n for update skip locked
        ) a
        limit w.n
    ) x
)
