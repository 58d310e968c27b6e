-- Whether the log is to be looked through now; stamps it, so that one process does it.
-- $1 microseconds between two.
update {schema}.event_upkeep u set at = (select {schema}.now())
where u.at <= (select {schema}.now()) - $1::bigint * interval '1 microsecond'
returning 1
