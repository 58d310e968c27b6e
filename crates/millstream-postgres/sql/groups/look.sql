-- A group, and where the log begins and ends.
-- $1 group. Rides queue_event_groups_pkey.
select h.pos, h.first_pos, g.pattern, g.types, g.partitions, g.poison, g.retain
from {schema}.event_head h left join {schema}.queue_event_groups g on g.name = $1::text
