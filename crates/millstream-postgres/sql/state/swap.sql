-- Replaces a value that is as expected.
-- $1 key, $2 old value, $3 new value. Rides state_pkey.
update {schema}.state s set value = $3::text::json, expires_at = null
where s.key = $1::text and s.value::jsonb = $2::text::jsonb
  and (s.expires_at is null or s.expires_at > {schema}.now())
returning s.key
