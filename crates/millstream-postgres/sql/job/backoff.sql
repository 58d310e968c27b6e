-- What the wait after a failed attempt is made of. Neither changes while the claim holds.
-- $1 queues, $2 jobs. Rides job_live_pkey and job_pkey.
select i.ord, l.attempt, b.settings
from unnest($1::integer[], $2::bigint[]) with ordinality as i(queue, job, ord)
     cross join lateral (
         select l.attempt from {schema}.job_live l where l.queue = i.queue and l.job = i.job offset 0) l
     cross join lateral (
         select j.settings::text as settings from {schema}.job j where j.queue = i.queue and j.id = i.job offset 0) b
