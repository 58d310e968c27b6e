-- Renews claims. Answers those that hold, and whether somebody asked to cancel the job. A row that somebody is writing is
-- not waited for: most often a settle of ours has it, which locks in another order. It holds until that is committed.
-- $1 queues, $2 jobs, $3 claims, $4 lease in microseconds. Rides job_live_pkey.
with clock as materialized (
    select {schema}.now() as now
), held as materialized (
    select i.ord, l.* from clock c,
         unnest($1::integer[], $2::bigint[], $3::bigint[]) with ordinality as i(queue, job, claim, ord)
         cross join lateral (
             select j.ctid as tid, j.cancel from {schema}.job_live j
             where j.queue = i.queue and j.job = i.job and j.claim = i.claim and j.lease_until > c.now offset 0
         ) l
), free as materialized (
    select l.ctid as tid from {schema}.job_live l
    where l.ctid = any (array(select h.tid from held h)) and l.claim is not null
    for update skip locked
), renewed as (
    update {schema}.job_live l set lease_until = c.now + $4::bigint * interval '1 microsecond'
    from clock c
    where l.ctid = any (array(select f.tid from free f))
)
select h.ord, h.cancel from held h
