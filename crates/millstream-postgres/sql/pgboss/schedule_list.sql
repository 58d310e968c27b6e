-- Schedules by queue and key, with what is known of their ticks.
-- $1 one queue, or null: all; $2 one key, or null: all. Rides schedule_pkey, boss_schedule_pkey.
select s.name as queue, s.key, s.kind, s.cron, coalesce(s.timezone, 'UTC') as zone, s.data::text as data, s.options::text as options,
       s.created_on, {boss}.job_now() as now, b.body::text as body, b.seen, b.next_at, b.last_at
from {boss}.schedule s left join lateral (
    select x.body, x.seen, x.next_at, x.last_at from {schema}.boss_schedule x
    where x.boss = '{name}' and x.queue = s.name and x.key = s.key offset 0
) b on true
where ($1::text is null or s.name = $1::text) and ($2::text is null or s.key = $2::text)
order by s.name collate "C", s.key collate "C"
