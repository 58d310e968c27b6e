-- Deletes values.
-- $1 keys. Rides state_pkey.
delete from {schema}.state s where s.ctid = any (array(
    select x.tid from (select u.key from unnest($1::text[]) as u(key) order by u.key collate "C" offset 0) u
    cross join lateral (
        select s.ctid as tid from {schema}.state s where s.key = u.key for update) x))
