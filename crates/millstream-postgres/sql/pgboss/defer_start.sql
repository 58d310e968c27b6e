-- Starts jobs of a call that only locked their rows, where nobody else did meanwhile: from here on it is a call like any
-- other. Answers how many.
-- $1 the call, $2 when it started, $3 the queue, $4 jobs, $5 places, $6 lease in microseconds. Rides boss_claim_pkey.
with clock as materialized (
    select {boss}.job_now() + (statement_timestamp() - transaction_timestamp()) as now, $3::text as queue
), noted as (
    update {schema}.boss_claim b set deferred = false where b.id = $1::bigint
), started as (
    update {job} j
    set state = 'active', started_on = $2::timestamptz,
        heartbeat_on = c.now + greatest($6::bigint - j.heartbeat_seconds * 1000000::bigint, 0) * interval '1 microsecond'
    from clock c cross join unnest($4::uuid[]) as i(job)
    where j.ctid = any ($5::tid[]) and i.job = j.id and j.name = c.queue
      and (j.state < 'active') is true and j.started_on is null and not j.blocked
    returning j.id
)
select count(*) as started from started
