-- Removes a member and gives back what it has.
-- $1 group, $2 member. Rides queue_event_members_pkey, queue_event_cursors_pkey.
with gone as (
    delete from {schema}.queue_event_members m where m.group_name = $1::text and m.id = $2::text
)
update {schema}.queue_event_cursors c
set owner = null, consumer = null, lease_until = '-infinity'
where c.group_name = $1::text and c.owner = $2::text
