-- Part of `claim`: the jobs of queues with the policy `key_strict_fifo`: the first of each key, where no other of it
-- runs, is to be repeated or has failed.
heads as materialized (
    select w.queue, h.* from clock c cross join want w cross join lateral (
        select distinct on (j.singleton_key) j.id, j.singleton_key, j.priority, j.created_on from {job} j
        where j.name = w.queue and j.state < 'active' and not j.blocked and j.policy = 'key_strict_fifo'
          and j.start_after <= c.now
        order by j.singleton_key, j.state desc, j.created_on, j.id
    ) h
), picked as materialized (
    select h.queue, h.id, l.tid from want w cross join lateral (
        select h.queue, h.id from heads h
        where h.queue = w.queue and not exists (
            select from {job} o where o.name = h.queue and o.singleton_key = h.singleton_key and o.id <> h.id
              and o.state in ('active', 'retry', 'failed') and o.policy = 'key_strict_fifo' offset 0)
        order by h.priority desc, h.created_on limit w.n
    ) h cross join lateral ({seek h.queue | h.id}) s cross join lateral (
        select j.ctid as tid from {job} j
        where j.ctid = s.tid and j.name = h.queue and j.id = h.id and j.state < 'active' for update skip locked
    ) l
)
