-- Notes the next tick of a schedule, and the latest that fired.
-- $1 queue, $2 key, $3 what its ticks are counted by, $4 next, $5 latest. Rides boss_schedule_pkey.
insert into {schema}.boss_schedule as b (boss, queue, key, seen, next_at, last_at)
values ('{name}', $1::text, $2::text, $3::text, $4::timestamptz, $5::timestamptz)
on conflict (boss, queue, key) do update
set body = case when b.seen = excluded.seen then b.body end, seen = excluded.seen, next_at = excluded.next_at,
    last_at = coalesce(excluded.last_at, b.last_at)
