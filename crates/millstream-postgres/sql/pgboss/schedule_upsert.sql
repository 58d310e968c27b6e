-- Writes a schedule, in pg-boss's words and in ours.
-- $1 queue, $2 key, $3 expression, $4 time zone, $5 data, $6 options in pg-boss's words, $7 all of it in ours, $8 what its
-- ticks are counted by, $9 the next of them. Rides schedule_pkey, boss_schedule_pkey.
with theirs as (
    insert into {boss}.schedule as s (name, key, kind, cron, timezone, data, options)
    values ($1::text, $2::text, 'cron', $3::text, $4::text, $5::text::jsonb, $6::text::jsonb)
    on conflict (name, key) do update
    set kind = excluded.kind, cron = excluded.cron, timezone = excluded.timezone, data = excluded.data, options = excluded.options,
        updated_on = {boss}.job_now()
)
insert into {schema}.boss_schedule as b (boss, queue, key, body, seen, next_at)
values ('{name}', $1::text, $2::text, $7::text::json, $8::text, $9::timestamptz)
on conflict (boss, queue, key) do update set body = excluded.body, seen = excluded.seen, next_at = excluded.next_at
