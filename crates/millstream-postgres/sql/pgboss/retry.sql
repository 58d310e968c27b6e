-- Runs a finished job again, at once: a cancelled one as pg-boss resumes it, another as pg-boss retries it. It has at
-- least one more attempt; when it started stays, so that its next fetch counts.
-- $1 queue, $2 job. Rides job_pkey, boss_job_pkey.
with x as (
    update {job} j
    set state = (case when j.state = 'cancelled' then 'created' else 'retry' end)::{boss}.job_state, completed_on = null,
        retry_limit = greatest(j.retry_limit, j.retry_count + (j.started_on is not null)::integer),
        upsert_by_key = null, -- from 45
        start_after = {boss}.job_now()
    where j.ctid = ({seek $1::text | $2::text::uuid}) and j.name = $1::text and j.id = $2::text::uuid and j.state > 'active'
    returning j.*
), begun as (
    insert into {schema}.boss_job as b (boss, queue, job, life)
    select '{name}', x.name, x.id, 1 from x
    on conflict (boss, queue, job) do update
    set life = b.life + 1, cancel = false, done = null, done_at = null, keep = null, expires_at = null
)
select x.retry_count, x.started_on is not null as started, x.data::text as data, h.name, {boss}.job_now() as now,
       {schema}.watched() as watched
from x left join lateral (
    select b.name from {schema}.boss_job b where b.boss = '{name}' and b.queue = $1::text and b.job = $2::text::uuid offset 0
) h on true
