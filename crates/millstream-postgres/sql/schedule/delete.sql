-- Removes a schedule.
-- $1 queue, $2 key. Rides schedule_pkey.
delete from {schema}.schedule s where s.queue = $1::integer and s.key = $2::text returning s.key
