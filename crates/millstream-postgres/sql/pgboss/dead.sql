-- Part of `claim` and `defer`: jobs of these queues that a worker took without writing so, before it vanished. Each such call
-- that lives holds a lock of its own.
dead as materialized (
    select unnest(b.jobs) as job, b.started from {schema}.boss_claim b
    where b.id >= (select h.first from hint h) and b.boss = '{name}' and b.deferred and b.queues[1] = any ($1::text[])
      and pg_try_advisory_xact_lock_shared(hashtextextended('{schema}.boss_claim', b.id))
)
