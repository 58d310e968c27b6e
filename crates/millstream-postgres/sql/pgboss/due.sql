-- When the next delayed job of any queue is due. Rides job_i14.
with clock as materialized (
    select {boss}.job_now() as now
)
select min(n.at) as at
from clock c cross join {boss}.queue q cross join (values ('created'::{boss}.job_state), ('retry')) as s(state) cross join lateral (
    select j.start_after as at from {boss}.job j
    where j.name = q.name and j.state = s.state and j.state in ('created', 'retry') and not j.blocked and j.start_after > c.now
    order by j.start_after limit 1
) n
where left(q.name, 10) <> '__pgboss__'
