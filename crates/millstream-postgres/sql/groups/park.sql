-- Moves a cursor by compare-and-set and puts events aside. No row: fenced, nothing was written.
-- $1 group, $2 partition, $3 epoch, $4 where the cursor must be, $5 where it goes, $6 positions, $7 streams, $8 whether
-- their streams stop, $9 errors, $10 attempts. Rides queue_event_cursors_pkey, queue_event_parked_pkey.
with moved as (
    update {schema}.queue_event_cursors c
    set pos = $5::bigint, attempts = 0, retry_at = null, error = null
    where c.group_name = $1::text and c.part = $2::integer and c.epoch = $3::bigint and c.pos = $4::bigint
      and $5::bigint >= $4::bigint
    returning c.part
), put as (
    insert into {schema}.queue_event_parked (group_name, pos, stream, stops_stream, error, attempts, parked_at)
    select $1::text, k.pos, k.stream, k.stops_stream, k.error, k.attempts, (select {schema}.now())
    from unnest($6::bigint[], $7::text[], $8::boolean[], $9::text[], $10::integer[])
         as k(pos, stream, stops_stream, error, attempts)
    where exists (select from moved) order by k.pos
    on conflict do nothing
)
select part from moved
