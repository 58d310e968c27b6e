-- Events of one stream in a range of positions, oldest first.
-- $1 the stream, $2 only above this position, $3 up to this one, $4 types or null, $5 at most so many, $6 the group,
-- where parked streams stop, or null. Rides queue_events_stream, queue_event_parked_stream.
select e.id, e.stream, e.version, e.ts, e.type, e.run_id, e.flow_name, e.step_name, e.step_id, e.attempt,
       e.data::text as data, e.bucket,
       $6::text is not null and exists (
           select from {schema}.queue_event_parked k
           where k.group_name = $6::text and k.stream = e.stream and k.stops_stream offset 0) as behind
from {schema}.queue_events e
where e.stream = $1::text and e.id > $2::bigint and e.id <= $3::bigint
  and ($4::text[] is null or e.type = any ($4::text[]))
order by e.id limit $5::bigint
