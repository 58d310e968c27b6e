-- Sends jobs of an event to a queue from now on.
-- $1 event, $2 queue. Rides subscription_pkey.
insert into {boss}.subscription as s (event, name) values ($1::text, $2::text)
on conflict (event, name) do update set updated_on = {boss}.job_now()
