-- Queues that subscribed to an event.
-- $1 event. Rides subscription_pkey.
select s.name from {boss}.subscription s where s.event = $1::text order by s.name
