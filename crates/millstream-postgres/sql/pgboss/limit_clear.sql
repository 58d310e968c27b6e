-- Ends the limit on a queue's groups, and forgets what was listed for it.
-- $1 queue. Rides boss_limit_pkey, boss_group_pkey, boss_waiting_pkey.
with unlimited as (
    delete from {schema}.boss_limit l where l.boss = '{name}' and l.queue = $1::text
), ungrouped as (
    delete from {schema}.boss_group g where g.boss = '{name}' and g.queue = $1::text
)
delete from {schema}.boss_waiting w where w.boss = '{name}' and w.queue = $1::text
