-- The clock of every statement: pg-boss's TestClock replaces it. One plain select, so that the planner inlines it, and
-- written as pg-boss's `doctor` expects to read it.
create function {schema}.job_now() returns timestamptz language sql stable as $$
    SELECT pg_catalog.now();
$$
