-- Forgets keys that are too old to be repeated.
-- $1 older than so many seconds, $2 at most so many. Rides event_key_age.
delete from {schema}.event_key k where k.ctid = any (array(
    select x.ctid from {schema}.event_key x
    where x.created_at <= (select {schema}.now()) - $1::bigint * interval '1 second'
    order by x.created_at limit $2::bigint))
returning 1
