-- Claims that have run out, the longest first: what the book names that is past its time.
-- $1 at most so many. Rides job_live_pkey; the book is small, and read whole.
with clock as materialized (
    select {schema}.now() as now
)
select l.queue, l.job, l.claim, (select q.name from {schema}.queue q where q.id = l.queue) as queue_name
from clock c cross join {schema}.job_book b cross join lateral unnest(b.jobs) as u(job)
     cross join lateral (
         select j.queue, j.job, j.claim, j.lease_until from {schema}.job_live j
         where j.queue = b.queue and j.job = u.job and j.claim = b.claim and j.lease_until <= c.now offset 0
     ) l
where b.until <= c.now
order by l.lease_until limit $1::bigint
