-- Makes a queue as pg-boss makes it, under its lock; one that exists is left as it is.
-- $1 name, $2 options in pg-boss's words. A transaction of its own.
select {boss}.create_queue($1::text, $2::text::jsonb)
from (select set_config('lock_timeout', '30s', true), pg_advisory_xact_lock({lock:create-queue}) offset 0) l
