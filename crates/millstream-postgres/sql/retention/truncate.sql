-- Moves the log's first position; answers the names of partitions that are to go.
-- $1 the age in microseconds or null, $2 the size in bytes or null.
select t.name from {schema}.truncate_events($1::bigint * interval '1 microsecond', $2::bigint) as t(name)
