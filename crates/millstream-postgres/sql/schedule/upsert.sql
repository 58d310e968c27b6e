-- Writes a schedule.
-- $1 queue, $2 key, $3 body, $4 next tick. Rides schedule_pkey.
insert into {schema}.schedule as s (queue, key, body, next_at)
values ($1::integer, $2::text, $3::text::json, $4::timestamptz)
on conflict (queue, key) do update set body = excluded.body, next_at = excluded.next_at
