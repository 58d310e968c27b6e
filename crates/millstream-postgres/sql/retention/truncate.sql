-- Moves the log's first position; answers the names of partitions that are to go, and how many events went with each.
-- $1 the age in microseconds or null, $2 the size in bytes or null, $3 how many events or null.
select t.name, t.gone from {schema}.truncate_events($1::bigint * interval '1 microsecond', $2::bigint, $3::bigint) t
