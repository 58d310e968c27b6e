-- This process watches queues for so long; answers the feed's last row.
-- $1 process, $2 seconds. Rides queue_watcher_pkey.
with w as (
    insert into {schema}.queue_watcher as w (origin, until)
    values ($1::text, clock_timestamp() + $2::bigint * interval '1 second')
    on conflict (origin) do update set until = excluded.until
)
select coalesce((select f.id from {schema}.queue_feed f order by f.id desc limit 1), 0) as last
