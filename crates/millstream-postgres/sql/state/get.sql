-- A value, unless it is expired.
-- $1 key. Rides state_pkey.
select s.value::text as value from {schema}.state s
where s.key = $1::text and (s.expires_at is null or s.expires_at > {schema}.now())
