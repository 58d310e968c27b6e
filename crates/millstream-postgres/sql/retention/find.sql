-- How long the log keeps events, if it was set for every process.
select u.is_set, u.age, u.bytes_max, u.events_max from {schema}.event_upkeep u
