-- Schedules, by queue and key.
-- $1 queue's name, or null for all. Rides schedule_pkey.
select q.name as queue, s.key, s.body::text as body, s.next_at, s.last_at
from {schema}.schedule s join {schema}.queue q on q.id = s.queue
where $1::text is null or q.name = $1::text
order by q.name, s.key
