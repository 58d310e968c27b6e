-- How many jobs are in each state, by queue.
-- $1 one queue, or null: all but pg-boss's own.
with clock as materialized (
    select {boss}.job_now() as now
)
select q.name, coalesce(p.paused, false) as paused,
       coalesce(n.waiting, 0) as waiting, coalesce(n.delayed, 0) as delayed, coalesce(n.active, 0) as active,
       coalesce(n.completed, 0) as completed, coalesce(n.failed, 0) as failed, coalesce(n.cancelled, 0) as cancelled
from clock c cross join {boss}.queue q left join lateral (
    select b.paused from {schema}.boss_queue b where b.boss = '{name}' and b.queue = q.name offset 0
) p on true left join lateral (
    select count(*) filter (where j.state < 'active' and not j.blocked and j.start_after <= c.now) as waiting,
           count(*) filter (where j.state < 'active' and (j.blocked or j.start_after > c.now)) as delayed,
           count(*) filter (where j.state = 'active') as active,
           count(*) filter (where j.state = 'completed') as completed,
           count(*) filter (where j.state = 'failed') as failed,
           count(*) filter (where j.state = 'cancelled') as cancelled
    from {boss}.job j where j.name = q.name
) n on true
where ($1::text is null and left(q.name, 10) <> '__pgboss__') or q.name = $1::text
order by q.name collate "C"
