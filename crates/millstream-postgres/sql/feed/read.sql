-- What other processes tell of the same layout.
-- $1 only above this row, $2 this process, $3 at most so many, $4 how their names begin. Rides queue_feed_pkey.
select f.id, f.event from {schema}.queue_feed f
where f.id > $1::bigint and f.origin <> $2::text and starts_with(f.origin, $4::text) order by f.id limit $3::bigint
