-- When the next delayed job is due, and the time.
-- Rides job_due.
select l.run_at, {schema}.now() as now from {schema}.job_live l where l.delayed order by l.run_at limit 1
