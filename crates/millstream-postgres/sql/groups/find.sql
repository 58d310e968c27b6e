-- One group as it was made, or every one.
-- $1 name, or null. Rides queue_event_groups_pkey.
select g.name, g.pattern, g.types, g.partitions, g.poison, g.attempts, g.retain,
       (extract(epoch from g.lease) * 1000000)::bigint as lease, g.paused
from {schema}.queue_event_groups g
where ($1::text is null or g.name = $1::text) order by g.name
