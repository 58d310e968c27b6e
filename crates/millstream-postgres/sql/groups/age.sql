-- How long ago the event at a position was taken in, in microseconds; how many events a group has parked.
-- $1 group, $2 position. Rides queue_events_pkey, queue_event_parked_pkey.
select (select greatest(0, extract(epoch from (select {schema}.now()) - e.ts) * 1000000)::bigint
        from {schema}.queue_events e where e.id = $2::bigint) as age,
       (select count(*) from {schema}.queue_event_parked k where k.group_name = $1::text) as parked
