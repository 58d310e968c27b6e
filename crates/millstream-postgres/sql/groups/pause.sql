-- Pauses a group. No row: there is none.
-- $1 name. Rides queue_event_groups_pkey.
update {schema}.queue_event_groups g set paused = true where g.name = $1::text returning 1
