-- Writes values, sorted by key so that two batches never wait for each other.
-- $1 keys, each once, $2 values, $3 times to live in microseconds. Rides state_pkey.
insert into {schema}.state as s (key, value, expires_at)
select u.key, u.value::json, c.now + u.ttl * interval '1 microsecond'
from (select {schema}.now() as now offset 0) c,
     unnest($1::text[], $2::text[], $3::bigint[]) as u(key, value, ttl)
order by u.key collate "C"
on conflict (key) do update set value = excluded.value, expires_at = excluded.expires_at
