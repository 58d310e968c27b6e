-- A finished job is waiting again, a life later, with at least one attempt more.
-- $1 queue, $2 job. Rides job_done_pkey, job_pkey.
with taken as (
    delete from {schema}.job_done d
    where d.queue = $1::integer and d.state = any ('{c,f,x}') and d.job = $2::bigint returning d.*
), body as materialized (
    select j.name, j.settings from {schema}.job j where j.queue = $1::integer and j.id = $2::bigint
), ready as (
    insert into {schema}.job_live (queue, job, state, priority, seq, run_at, attempt, attempts, life, started_at, error,
                                   removal)
    select t.queue, t.job, 'w', coalesce((b.settings ->> 'priority')::integer, 0), nextval('{schema}.job_seq'),
           {schema}.now(), t.attempt, greatest(t.attempts, t.attempt + 1), t.life + 1, t.started_at, t.error,
           case when b.settings is not null then json_build_object(
               'c', b.settings -> 'removeOnComplete', 'f', b.settings -> 'removeOnFail') end
    from taken t cross join body b
), tallied as (
    insert into {schema}.queue_tally (queue, waiting, completed, failed, cancelled)
    select t.queue, 1, -(t.state = 'c')::integer, -(t.state = 'f')::integer, -(t.state = 'x')::integer from taken t
)
select t.attempt, {schema}.now() as now, {schema}.watched() as watched, b.name from taken t cross join body b
