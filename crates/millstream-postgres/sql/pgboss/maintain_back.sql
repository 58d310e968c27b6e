-- Gives the turn to remove old jobs back.
-- $1 queues. Rides queue_pkey.
update {boss}.queue q set maintain_on = null where q.name = any ($1::text[])
