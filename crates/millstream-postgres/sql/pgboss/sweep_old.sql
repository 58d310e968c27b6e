-- Finished jobs that were kept for a time, which is over.
-- $1 at most so many. Rides boss_job_expires.
select b.queue, b.job::text as job from {schema}.boss_job b
where b.boss = '{name}' and b.expires_at < {boss}.job_now() order by b.expires_at limit $1::bigint
