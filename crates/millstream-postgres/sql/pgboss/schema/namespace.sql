-- Whether the schema itself is there: creating it needs a right on the database that using it does not.
-- $1 the schema.
select exists (select from pg_catalog.pg_namespace where nspname = $1)
