-- Counts a failure on the event behind a cursor. No row: fenced.
-- $1 group, $2 partition, $3 epoch, $4 where the cursor must be, $5 microseconds until it is tried again, $6 error. Rides
-- queue_event_cursors_pkey.
update {schema}.queue_event_cursors c
set attempts = c.attempts + 1, retry_at = (select {schema}.now()) + $5::bigint * interval '1 microsecond', error = $6::text
where c.group_name = $1::text and c.part = $2::integer and c.epoch = $3::bigint and c.pos = $4::bigint
returning c.attempts
