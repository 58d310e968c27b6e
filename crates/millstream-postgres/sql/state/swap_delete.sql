-- Deletes a value that is as expected.
-- $1 key, $2 old value. Rides state_pkey.
delete from {schema}.state s
where s.key = $1::text and s.value::jsonb = $2::text::jsonb
  and (s.expires_at is null or s.expires_at > {schema}.now())
returning s.key
