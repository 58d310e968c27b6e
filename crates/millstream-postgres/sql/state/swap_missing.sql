-- Writes a value where there is none.
-- $1 key, $2 value. Rides state_pkey.
insert into {schema}.state as s (key, value) values ($1::text, $2::text::json)
on conflict (key) do update set value = excluded.value, expires_at = null
where s.expires_at <= {schema}.now()
returning s.key
