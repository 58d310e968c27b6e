-- A page of a queue's jobs in some states, newest first.
-- $1 queue, $2 only below this number, $3 name or null, $4 since, $5 until, $6 at most so many, $7 states.
-- Rides job_live_pkey and job_done_pkey.
select b.id as job, b.key, b.created_at, b.name, b.data::text as data, b.settings::text as settings, p.value::text as progress,
       l.job is not null as live, coalesce(l.state, d.state)::text as state, coalesce(l.cancel, d.cancel) as cancel,
       coalesce(l.run_at, d.run_at) as run_at, coalesce(l.attempt, d.attempt) as attempt,
       coalesce(l.attempts, d.attempts) as attempts, coalesce(l.started_at, d.started_at) as started_at, d.finished_at,
       d.output::text as output, coalesce(l.error, d.error)::text as error
from (select j.*, x.live_state, x.done_state from (
          (select l.job, l.state as live_state, null::"char" as done_state from {schema}.job_live l
           cross join lateral (
               select from {schema}.job j where j.queue = l.queue and j.id = l.job
                 and ($3::text is null or j.name = $3::text)
                 and ($4::timestamptz is null or j.created_at >= $4::timestamptz)
                 and ($5::timestamptz is null or j.created_at < $5::timestamptz) offset 0) j
           where l.queue = $1::integer and l.job < $2::bigint and l.state::text = any ($7::text[])
           order by l.job desc limit $6::bigint)
          union all
          (select x.* from unnest($7::text[]) as s(state) cross join lateral (
               select d.job, null::"char" as live_state, d.state as done_state from {schema}.job_done d
               cross join lateral (
                   select from {schema}.job j where j.queue = d.queue and j.id = d.job
                     and ($3::text is null or j.name = $3::text)
                     and ($4::timestamptz is null or j.created_at >= $4::timestamptz)
                     and ($5::timestamptz is null or j.created_at < $5::timestamptz) offset 0) j
               where d.queue = $1::integer and (d.state, d.job) < (s.state::"char", $2::bigint) and d.state >= s.state::"char"
               order by d.state desc, d.job desc limit $6::bigint) x)
      ) x cross join lateral (
          select j.* from {schema}.job j where j.queue = $1::integer and j.id = x.job offset 0) j
      order by j.id desc limit $6::bigint) b
     left join lateral (
         select l.* from {schema}.job_live l where l.queue = b.queue and l.job = b.id offset 0) l on true
     left join lateral (
         select d.* from {schema}.job_done d
         where d.queue = b.queue and d.state = any ('{c,f,x}') and d.job = b.id offset 0) d on true
     left join lateral (
         select p.value from {schema}.job_progress p where p.queue = b.queue and p.job = b.id offset 0) p on true
order by b.id desc
