-- Makes a queue as pg-boss makes it, under its lock; one that exists is left as it is. A transaction of its own.
-- $1 name, $2 options in pg-boss's words.
with waited as materialized (
    select set_config('lock_timeout', '30s', true), pg_advisory_xact_lock(
        ('x' || left(encode(sha224(convert_to(current_database() || '.pgboss.{name}create-queue', 'UTF8')), 'hex'), 16))::bit(64)::bigint)
)
select {boss}.create_queue($1::text, $2::text::jsonb) from waited
