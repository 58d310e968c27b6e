-- Removes a job in whatever state, and what is beside it.
-- Who moves the row meanwhile is waited for: it is locked where it is now, by its key, and deleted where the statement saw
-- it (`seen`), from where Postgres follows it.
-- $1 queue, $2 job. Rides job_pkey, boss_job_pkey.
with beside as materialized (
    select b.ctid as tid, b.name from {schema}.boss_job b
    where b.boss = '{name}' and b.queue = $1::text and b.job = $2::text::uuid
), found as materialized (
    select s.tid as seen, l.tid from ({seek $1::text | $2::text::uuid}) s cross join lateral (
        select j.ctid as tid from {job} j
        where j.name = $1::text and j.id >= $2::text::uuid and j.id <= $2::text::uuid
        order by j.id limit 1
        for update
    ) l
), x as (
    delete from {job} j
    where j.ctid = any (array(select unnest(array[f.seen, f.tid]) from found f)) and j.name = $1::text and j.id = $2::text::uuid
    returning j.*
), forgotten as (
    delete from {schema}.boss_job b
    where b.ctid = any (array(select s.tid from beside s)) and exists (select from x)
)
select x.retry_count, x.started_on is not null as started, x.state = 'active' as was_running, x.data::text as data, h.name,
       {boss}.job_now() as now, {schema}.watched() as watched
from x left join beside h on true
