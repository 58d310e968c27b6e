-- Gives partitions back; those that are in another epoch are skipped.
-- $1 group, $2 partitions, $3 epochs. Rides queue_event_cursors_pkey.
update {schema}.queue_event_cursors c
set owner = null, consumer = null, lease_until = '-infinity'
from unnest($2::integer[], $3::bigint[]) as h(part, epoch)
where c.group_name = $1::text and c.part = any ($2::integer[]) and c.part = h.part and c.epoch = h.epoch
