-- The version of the schema: one row, which pg-boss keeps.
select version from {schema}.version
