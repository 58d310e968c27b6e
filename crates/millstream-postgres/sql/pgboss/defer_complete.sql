-- Completes jobs whose rows this transaction locked: start and end in one. None while somebody watches. Answers how many.
-- The clock tells when the transaction began: they end now.
-- $1 jobs, $2 outputs, $3 places, $4 when they started. Rides no index.
with clock as materialized (
    select greatest({boss}.job_now() + (clock_timestamp() - now()), $4::timestamptz) as now, {schema}.watched() as watched
), done as (
    update {job} j
    set state = 'completed', started_on = $4::timestamptz, heartbeat_on = c.now, completed_on = c.now, output = i.output::jsonb
    from clock c cross join unnest($1::uuid[], $2::text[]) as i(job, output)
    where j.ctid = any ($3::tid[]) and i.job = j.id and not c.watched
    returning j.id
)
select count(*) as done from done
