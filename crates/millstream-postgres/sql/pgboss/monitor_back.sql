-- Gives the turn to look at queues back.
-- $1 queues. Rides queue_pkey.
update {boss}.queue q set monitor_claim_on = null where q.name = any ($1::text[])
