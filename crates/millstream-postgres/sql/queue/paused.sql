-- Whether a queue is paused.
-- $1 name. Rides queue_name_key.
select q.paused from {schema}.queue q where q.name = $1::text
