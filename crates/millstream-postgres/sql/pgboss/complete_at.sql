-- Completes running jobs where their claims left them in the table, as `complete` does; what has moved since is left.
-- No index is asked: a job that ends before its first beat is still where it was claimed. Answers one row: null where it
-- took all of them, as it nearly always does, else those that it took.
-- $1 queues, $2 jobs, $3 attempts, $4 starts, $5 outputs, $6 lease in microseconds, $7 places. Rides no index.
with clock as materialized (
    select {boss}.job_now() as now, {schema}.watched() as watched
), done as (
    update {job} j
    set state = 'completed', completed_on = c.now, output = i.output::jsonb
    from clock c cross join unnest($1::text[], $2::uuid[], $3::integer[], $4::timestamptz[], $5::text[])
         with ordinality as i(queue, job, attempt, started, output, ord)
    where j.ctid = any ($7::tid[]) and i.job = j.id
      -- Compared again where somebody moved the row meanwhile.
      and j.name = i.queue and j.retry_count = i.attempt and j.started_on = i.started
      and j.state is not distinct from 'active'
      and {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $6::bigint) > c.now and not c.watched
    returning i.ord
)
select case when count(*) < cardinality($7::tid[]) then coalesce(array_agg(d.ord), '{}') end as some from done d
