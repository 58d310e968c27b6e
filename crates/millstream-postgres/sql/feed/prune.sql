-- Bounds the feed: who is further behind loses the oldest.
-- $1 older than so many seconds. Rides queue_feed_pkey.
delete from {schema}.queue_feed f
where f.id <= (select x.id from {schema}.queue_feed x
               where x.at < clock_timestamp() - $1::bigint * interval '1 second' order by x.id desc limit 1)
