-- A queue's jobs, newest first.
-- $1 queue, $2 taken in before this time, or at it with $3 a smaller id, $4 job name, $5 taken in since, $6 until,
-- $7 letters of states, $8 at most so many. Rides job_i15.
with clock as materialized (
    select {boss}.job_now() as now
), found as (
    select j.id::text as job, case
           when j.state < 'active' and not j.blocked and j.start_after <= c.now then 'w'
           when j.state < 'active' then 'd' when j.state = 'active' then 'a' when j.state = 'completed' then 'c'
           when j.state = 'failed' then 'f' else 'x' end as state,
       j.data::text as data, j.priority, j.retry_limit, j.retry_count, j.retry_delay, j.retry_backoff, j.retry_delay_max,
       j.expire_seconds, j.group_id, j.group_tier, j.output::text as output, j.created_on, j.start_after, j.started_on, j.completed_on,
       h.key, h.name, h.options::text as options, h.progress::text as progress, coalesce(h.cancel, false) as cancel,
       h.removal::text as removal
    from {job} j cross join clock c left join lateral (
    select b.key, b.name, b.options, b.progress, b.cancel, b.removal from {schema}.boss_job b
    where b.boss = '{name}' and b.queue = j.name and b.job = j.id offset 0
) h on true
    where j.name = $1::text and (j.created_on, j.id) < ($2::timestamptz, $3::text::uuid)
      and ($5::timestamptz is null or j.created_on >= $5::timestamptz)
      and ($6::timestamptz is null or j.created_on < $6::timestamptz)
      and ($4::text is null or coalesce(h.name, case when jsonb_typeof(j.data) = 'object' and jsonb_typeof(j.data -> '__jobName') = 'string'
                                                     then j.data ->> '__jobName' end, j.name) = $4::text)
)
select f.* from found f where $7::text[] is null or f.state = any ($7::text[])
order by f.created_on desc, f.job::uuid desc limit $8::bigint
