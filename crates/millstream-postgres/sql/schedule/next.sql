-- When the next schedule is due, and the time.
-- Rides schedule_due.
select s.next_at, {schema}.now() as now from {schema}.schedule s where s.next_at is not null order by s.next_at limit 1
