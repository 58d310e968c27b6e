-- Forgets calls that claimed more than a lease ago, and whose jobs no longer run under them.
-- $1 lease in microseconds. Rides job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
)
delete from {schema}.boss_claim b using clock c
where b.boss = '{name}' and b.at + $1::bigint * interval '1 microsecond' <= c.now
  and not exists (
      select from unnest(b.queues, b.jobs) as u(queue, job) cross join lateral (
          select j.id, j.started_on, j.state, j.retry_count, j.start_after from {boss}.job j
          where j.name = coalesce(u.queue, b.queues[1]) and j.id >= u.job order by j.id limit 1
      ) l
      where l.id = u.job and (l.started_on = b.started and l.state = 'active'
                              or b.deferred and l.started_on is null and l.retry_count = 0 and l.state < 'active'
                              and l.start_after < b.started + interval '1 millisecond'))
returning b.id
