-- Changes what a queue says to its next jobs.
-- $1 name, $2 settings in pg-boss's words. Rides queue_pkey.
update {boss}.queue q
set retry_limit = (w.o ->> 'retryLimit')::integer, retry_delay = (w.o ->> 'retryDelay')::integer,
    retry_backoff = (w.o ->> 'retryBackoff')::boolean, retry_delay_max = (w.o ->> 'retryDelayMax')::integer,
    expire_seconds = (w.o ->> 'expireInSeconds')::integer, retention_seconds = (w.o ->> 'retentionSeconds')::integer,
    deletion_seconds = (w.o ->> 'deleteAfterSeconds')::integer, heartbeat_seconds = (w.o ->> 'heartbeatSeconds')::integer,
    dead_letter = w.o ->> 'deadLetter', notify = (w.o ->> 'notify')::boolean, updated_on = {boss}.job_now()
from (select $2::text::jsonb as o) w where q.name = $1::text
returning q.name
