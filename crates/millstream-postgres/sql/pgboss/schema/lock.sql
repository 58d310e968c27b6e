-- Waits for one of the locks that everybody on a schema of pg-boss takes by the same name, until the transaction ends.
-- $1 the schema as it stands in a statement, with the lock's suffix behind it; '' where the schema is created or moved.
select pg_catalog.pg_advisory_xact_lock(('x' || left(encode(
    sha224(convert_to(current_database() || '.pgboss.' || $1::text, 'UTF8')), 'hex'), 16))::bit(64)::bigint)
