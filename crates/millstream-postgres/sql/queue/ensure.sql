-- Queues begin; those that exist stay as they are.
-- $1 names. Rides queue_name_key.
insert into {schema}.queue (name)
select u.name from unnest($1::text[]) as u(name) order by u.name
on conflict do nothing
