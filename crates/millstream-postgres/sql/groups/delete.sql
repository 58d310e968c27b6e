-- Removes a group with all that it has.
-- $1 name. Rides queue_event_groups_pkey, queue_event_cursors_pkey.
with cursors as (
    delete from {schema}.queue_event_cursors c where c.group_name = $1::text
), members as (
    delete from {schema}.queue_event_members m where m.group_name = $1::text
), parked as (
    delete from {schema}.queue_event_parked k where k.group_name = $1::text
)
delete from {schema}.queue_event_groups g where g.name = $1::text
