-- A schedule, to be written again, and the time.
-- $1 queue, $2 key. Rides schedule_pkey.
select {schema}.now() as now, s.body::text as body, s.next_at, s.key is not null as known
from (select 1) one left join lateral (
    select * from {schema}.schedule s where s.queue = $1::integer and s.key = $2::text for update) s on true
