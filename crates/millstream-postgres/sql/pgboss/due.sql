-- When the next delayed job of any queue is due. That a job is not blocked is asked for in such a way that no planner knows
-- it beforehand: job_i11, which holds none that is, looks as good as job_i14 where the statistics know of no waiting job,
-- most of all to one that can skip its middle columns; and it would be read whole.
-- Rides job_i14.
with clock as materialized (
    select {boss}.job_now() as now
)
select min(n.at) as at
from clock c cross join {boss}.queue q
     cross join (values ('created'::{boss}.job_state, false), ('retry', false)) as s(state, blocked) cross join lateral (
    select j.start_after as at from {boss}.job j
    where j.name = q.name and j.state = s.state and j.state in ('created', 'retry') and j.blocked = s.blocked
      and j.start_after > c.now
    order by j.start_after limit 1
) n
where left(q.name, 10) <> '__pgboss__'
