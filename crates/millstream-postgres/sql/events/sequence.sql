-- Numbers committed events. -1: another process is at it.
-- $1 at most so many, $2 a floor, $3 whether to notify. Rides queue_event_inbox_pkey.
select s.moved, s.last_id, s.head, s.low from {schema}.sequence_events($1::integer, $2::bigint, false, $3::boolean) as s
