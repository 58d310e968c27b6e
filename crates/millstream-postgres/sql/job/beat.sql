-- Renews claims. Answers those that hold, and whether somebody asked to cancel the job.
-- $1 queues, $2 jobs, $3 claims, $4 lease in microseconds. Rides job_live_pkey.
with clock as materialized (
    select {schema}.now() as now
), held as materialized (
    select i.ord, l.* from clock c,
         unnest($1::integer[], $2::bigint[], $3::bigint[]) with ordinality as i(queue, job, claim, ord)
         cross join lateral (
             select j.ctid as tid, j.cancel from {schema}.job_live j
             where j.queue = i.queue and j.job = i.job and j.claim = i.claim and j.lease_until > c.now for update
         ) l
), renewed as (
    update {schema}.job_live l set lease_until = c.now + $4::bigint * interval '1 microsecond'
    from clock c
    where l.ctid = any (array(select tid from held))
)
select h.ord, h.cancel from held h
