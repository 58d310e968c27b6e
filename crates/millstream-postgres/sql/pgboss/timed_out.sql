-- Running jobs that run too long, or whose heartbeat stopped.
-- $1 queues, $2 whether by the heartbeat, $3 at most so many. Rides job_i14.
with clock as materialized (
    select {boss}.job_now() as now
)
select x.name as queue, x.id::text as job, x.retry_count, x.started_on
from clock c cross join unnest($1::text[]) as q(name) cross join lateral (
    select j.name, j.id, j.retry_count, j.started_on from {job} j
    where j.name = q.name and j.state = 'active' and case $2::boolean
          when true then j.heartbeat_seconds is not null and j.heartbeat_on + j.heartbeat_seconds * interval '1 second' < c.now
          else j.started_on + j.expire_seconds * interval '1 second' < c.now end
    offset 0
) x
where x.started_on is not null
limit $3::bigint
