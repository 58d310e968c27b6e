-- Sets how long the log keeps events, for every process.
-- $1 whether it is set at all, $2 the age in microseconds or null, $3 the size in bytes or null, $4 how many or null.
update {schema}.event_upkeep u set is_set = $1, age = $2, bytes_max = $3, events_max = $4
