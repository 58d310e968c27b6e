-- Numbers everything that is committed by now; answers the last position.
-- $1 whether to notify. Rides queue_event_inbox_pkey.
select {schema}.flush_events($1::boolean) as head
