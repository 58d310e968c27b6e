-- Delayed jobs that became ready in this time.
-- $1 after, $2 until, $3 at most so many. Rides job_i14.
select j.name as queue, j.id::text as job, j.data::text as data, j.retry_count, j.started_on is not null as started,
       j.start_after as now, h.key, h.name
from {boss}.queue q cross join lateral (
    select x.* from {boss}.job x
    where x.name = q.name and x.state < 'active' and not x.blocked and x.start_after > x.created_on
      and x.start_after > $1::timestamptz and x.start_after <= $2::timestamptz offset 0
) j left join lateral (
    select b.key, b.name from {schema}.boss_job b
    where b.boss = '{name}' and b.queue = j.name and b.job = j.id offset 0
) h on true
order by j.start_after limit $3::bigint
