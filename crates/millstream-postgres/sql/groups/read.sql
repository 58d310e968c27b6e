-- Events of several partitions, oldest first, in one pass over a range of positions.
-- $1 positions by partition, each event being behind its own; $2 partitions less one, $3 only above this position, $4 up
-- to this one, $5 from this stream on, or null, $6 up to before this one, or null, $7 types or null, $8 at most so many,
-- $9 the group, where parked streams stop, or null. Rides queue_events_pkey, queue_event_parked_stream.
select e.id, e.stream, e.version, e.ts, e.type, e.run_id, e.flow_name, e.step_name, e.step_id, e.attempt,
       e.data::text as data, e.bucket,
       $9::text is not null and exists (
           select from {schema}.queue_event_parked k
           where k.group_name = $9::text and k.stream = e.stream and k.stops_stream offset 0) as behind
from {schema}.queue_events e
where e.id > $3::bigint and e.id <= $4::bigint
  and e.id > ($1::bigint[])[(e.bucket::integer & $2::integer) + 1]
  and ($5::text is null or e.stream >= $5::text) and ($6::text is null or e.stream < $6::text)
  and ($7::text[] is null or e.type = any ($7::text[]))
order by e.id limit $8::bigint
