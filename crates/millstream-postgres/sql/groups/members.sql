-- Live members of a group, by consumer and id, with the number of partitions each has.
-- $1 group. Rides queue_event_members_pkey, queue_event_cursors_pkey.
select m.consumer, m.id, m.seen,
       (select count(*) from {schema}.queue_event_cursors c
        where c.group_name = m.group_name and c.owner = m.id and c.lease_until >= (select {schema}.now())) as partitions
from {schema}.queue_event_members m
where m.group_name = $1::text
  and m.seen >= (select {schema}.now()) - (select g.lease from {schema}.queue_event_groups g where g.name = $1::text)
order by m.consumer collate "C", m.id
