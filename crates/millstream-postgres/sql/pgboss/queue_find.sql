-- Queues that exist: where their jobs are, by which policy, and whether their groups are limited.
-- $1 names, or null: all. Rides queue_pkey, boss_limit_pkey.
select q.name, q.table_name, q.policy, q.notify,
       exists (select from {schema}.boss_limit l where l.boss = '{name}' and l.queue = q.name offset 0) as limited
from {boss}.queue q where $1::text[] is null or q.name = any ($1::text[])
