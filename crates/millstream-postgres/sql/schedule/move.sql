-- A schedule's next tick; its latest only where one fired.
-- $1 queue, $2 key, $3 next, $4 last or null. Rides schedule_pkey.
update {schema}.schedule s set next_at = $3::timestamptz, last_at = coalesce($4::timestamptz, s.last_at)
where s.queue = $1::integer and s.key = $2::text
