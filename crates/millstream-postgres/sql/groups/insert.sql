-- Makes a group with all its cursors. No row: there is one of that name.
-- $1 name, $2 pattern, $3 types, $4 partitions, $5 poison, $6 attempts, $7 retain, $8 lease in microseconds, $9 position
-- of every cursor. Rides queue_event_groups_pkey.
with made as (
    insert into {schema}.queue_event_groups
        (name, pattern, types, partitions, poison, attempts, retain, lease, created_at)
    select $1::text, $2::text, $3::text[], $4::integer, $5::text, $6::integer, $7::boolean,
           $8::bigint * interval '1 microsecond', (select {schema}.now())
    on conflict (name) do nothing returning name
), cursors as (
    insert into {schema}.queue_event_cursors (group_name, part, pos)
    select made.name, part, $9::bigint from made, generate_series(0, $4::integer - 1) part
)
select name from made
