-- Part of `claim`: the jobs of queues with the policy `singleton` or `stately`: one of each key, where none of it runs.
first as materialized (
    select distinct on (x.queue, x.singleton) x.* from clock c cross join want w cross join lateral (
        select w.queue, j.id, coalesce(j.singleton_key, '') as singleton, j.priority, j.created_on from {job} j
        where j.name = w.queue and j.state < 'active' and not j.blocked and j.start_after <= c.now
          and not exists (
              select from {job} o where o.name = j.name and o.state = 'active' and o.policy = j.policy
                and coalesce(o.singleton_key, '') = coalesce(j.singleton_key, '') offset 0)
        order by j.priority desc, j.created_on limit 1000
    ) x
    order by x.queue, x.singleton, x.priority desc, x.created_on
), picked as materialized (
    select f.queue, f.id, l.tid from want w cross join lateral (
        select f.queue, f.id from first f where f.queue = w.queue order by f.priority desc, f.created_on limit w.n
    ) f cross join lateral ({seek f.queue | f.id}) s cross join lateral (
        select j.ctid as tid from {job} j
        where j.ctid = s.tid and j.name = f.queue and j.id = f.id and j.state < 'active' for update skip locked
    ) l
)
