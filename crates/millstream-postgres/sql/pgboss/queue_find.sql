-- Queues that exist: where their jobs are and by which policy.
-- $1 names, or null: all. Rides queue_pkey.
select q.name, q.table_name, q.policy, q.notify from {boss}.queue q where $1::text[] is null or q.name = any ($1::text[])
