-- Queue events for the watchers of other processes.
-- $1 process, $2 events.
insert into {schema}.queue_feed (origin, event)
select $1::text, u.event from unnest($2::text[]) with ordinality as u(event, ord) order by u.ord
