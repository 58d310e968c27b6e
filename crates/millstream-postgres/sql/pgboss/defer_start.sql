-- Starts jobs of a call that only locked their rows, where nobody else did meanwhile: from here on it is a call like any
-- other. Answers how many.
-- $1 the call, $2 when it started, $3 the queue, $4 jobs, $5 places, $6 lease in microseconds. Rides boss_claim_pkey.
with noted as (
    update {schema}.boss_claim b set deferred = false where b.id = $1::bigint
), started as (
    update {job} j
    set state = 'active', started_on = $2::timestamptz,
        heartbeat_on = {boss}.job_now() + greatest($6::bigint - j.heartbeat_seconds * 1000000::bigint, 0) * interval '1 microsecond'
    from unnest($4::uuid[]) as i(job)
    where j.ctid = any ($5::tid[]) and i.job = j.id and j.name = $3::text
      and j.state < 'active' and j.started_on is null and not j.blocked
    returning j.id
)
select count(*) as started from started
