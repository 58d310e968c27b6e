-- Numbers of queues, by name.
-- $1 names. Rides queue_name_key.
select q.name, q.id from {schema}.queue q where q.name = any ($1::text[])
