-- Removes a schedule. Answers a row where there was one.
-- $1 queue, $2 key. Rides schedule_pkey, boss_schedule_pkey.
with ours as (
    delete from {schema}.boss_schedule b where b.boss = '{name}' and b.queue = $1::text and b.key = $2::text
)
delete from {boss}.schedule s where s.name = $1::text and s.key = $2::text returning s.key
