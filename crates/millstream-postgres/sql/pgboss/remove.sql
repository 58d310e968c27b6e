-- Removes a job in whatever state, and what is beside it.
-- $1 queue, $2 job. Rides job_pkey, boss_job_pkey.
with beside as materialized (
    select b.ctid as tid, b.name from {schema}.boss_job b
    where b.boss = '{name}' and b.queue = $1::text and b.job = $2::text::uuid
), x as (
    delete from {job} j where j.ctid = ({seek $1::text | $2::text::uuid}) and j.name = $1::text and j.id = $2::text::uuid
    returning j.*
), forgotten as (
    delete from {schema}.boss_job b
    where b.ctid = any (array(select s.tid from beside s)) and exists (select from x)
)
select x.retry_count, x.started_on is not null as started, x.state = 'active' as was_running, x.data::text as data, h.name,
       {boss}.job_now() as now, {schema}.watched() as watched
from x left join beside h on true
