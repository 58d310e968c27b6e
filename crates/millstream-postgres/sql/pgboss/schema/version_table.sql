-- Whether the schema holds pg-boss's tables. By the catalogue, not by to_regclass, which may answer from a cache that is
-- older than the lock.
-- $1 the schema.
select exists (
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = 'version' and c.relkind in ('r', 'p')
)
