-- Waits for one of the locks that everybody on pg-boss's tables takes by the same name, until the transaction ends.
-- $1 the lock's suffix.
select set_config('lock_timeout', '30s', true), pg_advisory_xact_lock(
    ('x' || left(encode(sha224(convert_to(current_database() || '.pgboss.{name}' || $1::text, 'UTF8')), 'hex'), 16))::bit(64)::bigint)
