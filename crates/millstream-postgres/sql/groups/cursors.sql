-- Cursors of a group, by partition.
-- $1 group. Rides queue_event_cursors_pkey.
select c.part, c.pos, c.epoch, case when c.lease_until >= (select {schema}.now()) then c.consumer end as consumer,
       c.attempts, c.error
from {schema}.queue_event_cursors c
where c.group_name = $1::text order by c.part
