-- Which jobs were completed under a call, whose start nobody else knows: asked where the answer to that was lost.
-- $1 the queue, $2 jobs, $3 when the call started. Rides job_pkey.
select l.id as job
from unnest($2::uuid[]) as i(job) cross join lateral ({seek $1::text | i.job}) s cross join lateral (
    select j.id from {job} j
    where j.ctid = s.tid and j.name = $1::text and j.id = i.job and j.state is not distinct from 'completed'
      and j.started_on = $3::timestamptz
    offset 0
) l
