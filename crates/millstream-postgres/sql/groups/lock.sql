-- One group as it was made, locked for the rest of the transaction.
-- $1 name. Rides queue_event_groups_pkey.
select g.name, g.pattern, g.types, g.partitions, g.poison, g.attempts, g.retain,
       (extract(epoch from g.lease) * 1000000)::bigint as lease, g.paused
from {schema}.queue_event_groups g
where g.name = $1::text for update
