-- Locks the jobs whose claims hold, for the rest of the transaction. Answers their places.
-- $1 queues, $2 jobs, $3 claims. Rides job_live_pkey.
with clock as materialized (select {schema}.now() as now)
select i.ord from clock c,
     unnest($1::integer[], $2::bigint[], $3::bigint[]) with ordinality as i(queue, job, claim, ord)
     cross join lateral (
         select from {schema}.job_live l
         where l.queue = i.queue and l.job = i.job and l.claim = i.claim and l.lease_until > c.now for update
     ) l
