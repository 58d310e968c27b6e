-- Notes the progress of jobs whose claims hold. Answers a row for each.
-- $1 queues, $2 jobs, $3 claims, $4 values. Rides job_live_pkey, job_progress_pkey.
with clock as materialized (
    select {schema}.now() as now, {schema}.watched() as watched
), held as materialized (
    select i.ord, i.queue, i.job, i.value, l.attempt
    from clock c, unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[])
              with ordinality as i(queue, job, claim, value, ord)
         cross join lateral (
             select l.attempt from {schema}.job_live l
             where l.queue = i.queue and l.job = i.job and l.claim = i.claim and l.lease_until > c.now for share) l
), noted as (
    insert into {schema}.job_progress as p (queue, job, value)
    select h.queue, h.job, h.value::json from held h order by h.queue, h.job
    on conflict (queue, job) do update set value = excluded.value
)
select h.ord, h.attempt, c.now, c.watched,
       (select j.name from {schema}.job j where j.queue = h.queue and j.id = h.job) as name
from held h cross join clock c
