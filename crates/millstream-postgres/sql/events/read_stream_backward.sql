-- Events of one stream; newest first.
-- $1 stream, $2 only above this position, $3 up to this one, $4 since, $5 until, $6 types or null, $7 at most so many.
-- Rides queue_events_stream.
select e.id, e.stream, e.version, e.ts, e.type, e.run_id, e.flow_name, e.step_name, e.step_id, e.attempt,
       e.data::text as data
from {schema}.queue_events e
where e.stream = $1::text
  and e.id > greatest($2::bigint, coalesce((select {schema}.position_at($4::timestamptz)) - 1, 0))
  and e.id <= least($3::bigint, coalesce((select {schema}.position_at($5::timestamptz)) - 1, 9223372036854775807))
  and ($6::text[] is null or e.type = any ($6::text[]))
order by e.id desc limit $7::bigint
