-- Forgets expired values.
-- $1 at most so many. Rides state_expires.
delete from {schema}.state s where s.ctid = any (array(
    select x.ctid from {schema}.state x where x.expires_at <= (select {schema}.now())
    order by x.expires_at limit $1::bigint))
returning 1
