-- Changes what may change of a group.
-- $1 name, $2 poison, $3 attempts, $4 retain, $5 lease in microseconds. Rides queue_event_groups_pkey.
update {schema}.queue_event_groups g
set poison = $2::text, attempts = $3::integer, retain = $4::boolean, lease = $5::bigint * interval '1 microsecond'
where g.name = $1::text
