-- Completes running jobs of which pg-boss's own row says all: what most settles are, in fewer steps than `settle`.
-- Answers those it took; none while somebody watches. What a beat moved under it is left.
-- $1 queues, $2 jobs, $3 attempts, $4 starts, $5 outputs, $6 lease in microseconds. Rides job_pkey.
with clock as materialized (
    select {boss}.job_now() as now, {schema}.watched() as watched
), input as materialized (
    select u.* from unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[], $5::text[])
         with ordinality as u(queue, job, attempt, started, output, ord)
), held as materialized (
    select i.ord, i.output, l.* from clock c cross join input i cross join lateral ({seek i.queue | i.job::uuid}) s cross join lateral (
        select j.ctid as tid, j.id, j.name, j.retry_count, j.started_on from {job} j
        where j.ctid = s.tid and j.name = i.queue and j.id = i.job::uuid and j.retry_count = i.attempt and j.started_on = i.started
          and j.state is not distinct from 'active'
          and {schema}.boss_until(j.heartbeat_on, j.heartbeat_seconds, $6::bigint) > c.now
        offset 0
    ) l
    where not c.watched
)
update {job} j
set state = 'completed', completed_on = c.now, output = h.output::jsonb
from held h cross join clock c
where j.ctid = any (array(select tid from held))
  and h.id = j.id and h.name = j.name and h.retry_count = j.retry_count and h.started_on = j.started_on
  and j.state is not distinct from 'active'
returning h.ord
