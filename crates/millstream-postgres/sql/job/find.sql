-- One job, wherever it is in its life: one statement, or a job that moves could be missed.
-- $1 queue, $2 id, $3 and $4 number and time in it, if it can be ours. Rides job_key_pkey, primary keys.
select b.id as job, b.key, b.created_at, b.name, b.data::text as data, b.settings::text as settings, p.value::text as progress,
       l.job is not null as live, coalesce(l.state, d.state)::text as state, coalesce(l.cancel, d.cancel) as cancel,
       coalesce(l.run_at, d.run_at) as run_at, coalesce(l.attempt, d.attempt) as attempt,
       coalesce(l.attempts, d.attempts) as attempts, coalesce(l.started_at, d.started_at) as started_at, d.finished_at,
       d.output::text as output, coalesce(l.error, d.error)::text as error
from {schema}.job b
     left join lateral (
         select l.* from {schema}.job_live l where l.queue = b.queue and l.job = b.id offset 0) l on true
     left join lateral (
         select d.* from {schema}.job_done d
         where d.queue = b.queue and d.state = any ('{c,f,x}') and d.job = b.id offset 0) d on true
     left join lateral (
         select p.value from {schema}.job_progress p where p.queue = b.queue and p.job = b.id offset 0) p on true
where b.queue = $1::integer
  and b.id = coalesce(
      (select k.job from {schema}.job_key k where k.queue = $1::integer and k.key = $2::text),
      (select j.id from {schema}.job j
       where j.queue = $1::integer and j.id = $3::bigint and j.key is null and j.created_at = $4::timestamptz))
