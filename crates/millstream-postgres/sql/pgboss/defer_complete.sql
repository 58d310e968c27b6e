-- Completes jobs whose rows this transaction locked: start and end in one. None while somebody watches. The note of their
-- call goes where these are all of its jobs. Answers how many.
-- The transaction has been open while they ran: what is now is counted from when it began.
-- $1 jobs, $2 outputs, $3 places, $4 when they started, $5 the call, $6 whether these are all. Rides boss_claim_pkey.
with clock as materialized (
    select greatest($4::timestamptz, {boss}.job_now() + (statement_timestamp() - transaction_timestamp())) as now,
           {schema}.watched() as watched
), over as (
    delete from {schema}.boss_claim b using clock c where b.id = $5::bigint and $6::boolean and not c.watched
), done as (
    update {job} j
    set state = 'completed', started_on = $4::timestamptz, heartbeat_on = c.now, completed_on = c.now, output = i.output::jsonb
    from clock c cross join unnest($1::uuid[], $2::text[]) as i(job, output)
    where j.ctid = any ($3::tid[]) and i.job = j.id and not c.watched
    returning j.id
)
select count(*) as done from done
