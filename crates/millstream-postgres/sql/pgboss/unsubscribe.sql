-- Ends a subscription. Answers a row where there was one.
-- $1 event, $2 queue. Rides subscription_pkey.
delete from {boss}.subscription s where s.event = $1::text and s.name = $2::text returning s.name
