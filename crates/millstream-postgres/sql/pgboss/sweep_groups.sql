-- Which queues and ends keep only so many finished jobs.
-- Rides boss_job_keep, whose rows are bounded by what is kept.
select b.queue, b.done::text as done, b.keep from {schema}.boss_job b
where b.boss = '{name}' and b.keep is not null group by b.queue, b.done, b.keep
