-- Claims that have run out, the longest first.
-- $1 at most so many. Rides job_lease.
select l.queue, l.job, l.claim from {schema}.job_live l
where l.state = 'a' and l.lease_until <= (select {schema}.now())
order by l.lease_until limit $1::bigint
