-- The first position taken in at or after a time.
-- $1 time. Rides queue_events_pkey, by bisection.
select {schema}.position_at($1::timestamptz) as pos
