-- Schedules that are due, and the time; those that another process is firing are skipped.
-- $1 at most so many. Rides schedule_due.
select s.queue, s.key, s.body::text as body, s.next_at, c.now
from (select {schema}.now() as now offset 0) c cross join lateral (
    select * from {schema}.schedule s where s.next_at <= c.now
    order by s.next_at limit $1::bigint for update skip locked) s
