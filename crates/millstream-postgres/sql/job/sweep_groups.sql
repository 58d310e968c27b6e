-- Which queues and states keep only so many.
-- Rides job_done_keep, whose rows are bounded by what is kept.
select d.queue, d.state::text as state, d.keep from {schema}.job_done d
where d.keep is not null group by d.queue, d.state, d.keep
