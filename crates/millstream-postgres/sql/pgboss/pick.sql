-- Part of `claim`: the jobs of queues whose policy keeps no job from running.
picked as materialized (
    select x.tid from clock c cross join want w cross join lateral (
        select j.ctid as tid from {job} j
        where j.name = w.queue and j.state < 'active' and not j.blocked and j.start_after <= c.now
        order by j.priority desc, j.created_on limit w.n for update skip locked
    ) x
)
