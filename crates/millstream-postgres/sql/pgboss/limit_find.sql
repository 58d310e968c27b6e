-- How many jobs of one group of a queue may run.
-- $1 queue. Rides boss_limit_pkey.
select l.at_most from {schema}.boss_limit l where l.boss = '{name}' and l.queue = $1::text
