-- Keys of a range, sorted.
-- $1 from this key on, $2 up to before this one, or null, $3 at most so many. Rides state_pkey.
select s.key from {schema}.state s
where s.key >= $1::text and ($2::text is null or s.key < $2::text)
  and (s.expires_at is null or s.expires_at > {schema}.now())
order by s.key limit $3::bigint
