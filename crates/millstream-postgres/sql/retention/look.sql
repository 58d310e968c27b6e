-- Where the log begins and ends, the time of its first event, its size, and the last position past its bounds.
-- $1 the age in microseconds or null, $2 the size in bytes or null, $3 how many events or null.
select h.pos, h.first_pos, (select e.ts from {schema}.queue_events e where e.id = h.first_pos) as oldest,
       (select coalesce(sum(pg_total_relation_size(to_regclass(format('{schema}.%I', x.name)))), 0)::bigint
        from {schema}.event_partition x where x.last_id >= h.first_pos) as bytes,
       {schema}.event_due($1::bigint * interval '1 microsecond', $2::bigint, $3::bigint) as due
from {schema}.event_head h
