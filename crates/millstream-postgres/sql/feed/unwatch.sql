-- This process watches no more; others that ended without saying so are forgotten.
-- $1 process. Rides queue_watcher_pkey.
delete from {schema}.queue_watcher w where w.origin = $1::text or w.until < clock_timestamp() - interval '1 minute'
