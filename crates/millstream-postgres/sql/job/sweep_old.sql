-- Finished jobs that were kept long enough.
-- $1 at most so many. Rides job_done_expires.
select d.queue, d.job from {schema}.job_done d
where d.expires_at < (select {schema}.now()) order by d.expires_at limit $1::bigint
