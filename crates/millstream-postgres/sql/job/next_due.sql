-- When the next delayed job is due.
-- Rides job_due.
select l.run_at from {schema}.job_live l where l.state = 'd' order by l.run_at limit 1
