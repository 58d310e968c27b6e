-- Moves cursors, each by compare-and-set; answers the places of those that moved.
-- $1 group, $2 partitions, $3 epochs, $4 where they must be, $5 where they go. Rides queue_event_cursors_pkey.
update {schema}.queue_event_cursors c
set pos = m.target, attempts = 0, retry_at = null, error = null
from unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[]) with ordinality
     as m(part, epoch, origin, target, ord)
where c.group_name = $1::text and c.part = any ($2::integer[])
  and c.part = m.part and c.epoch = m.epoch and c.pos = m.origin and m.target >= m.origin
returning m.ord
