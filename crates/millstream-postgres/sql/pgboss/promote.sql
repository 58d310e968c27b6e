-- Makes a delayed job waiting now.
-- $1 queue, $2 job. Rides job_pkey.
with x as (
    update {job} j set start_after = {boss}.job_now()
    where j.ctid = ({seek $1::text | $2::text::uuid}) and j.name = $1::text and j.id = $2::text::uuid and j.state < 'active' and not j.blocked
      and j.start_after > {boss}.job_now()
    returning j.*
)
select x.retry_count, x.started_on is not null as started, x.data::text as data, h.name, {boss}.job_now() as now,
       {schema}.watched() as watched
from x left join lateral (
    select b.name from {schema}.boss_job b where b.boss = '{name}' and b.queue = $1::text and b.job = $2::text::uuid offset 0
) h on true
