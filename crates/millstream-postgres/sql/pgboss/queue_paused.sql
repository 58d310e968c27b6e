-- Whether a queue is paused.
-- $1 queue. Rides boss_queue_pkey.
select b.paused from {schema}.boss_queue b where b.boss = '{name}' and b.queue = $1::text
