-- Events that a group put aside, by position.
-- $1 group, $2 only above this position, $3 at most so many. Rides queue_event_parked_pkey.
select k.pos, k.stream, k.stops_stream, k.error, k.attempts, k.parked_at
from {schema}.queue_event_parked k
where k.group_name = $1::text and k.pos > $2::bigint order by k.pos limit $3::bigint
