-- Sets every cursor of a group, in a new epoch that nobody owns, and forgets what is parked behind.
-- $1 group, $2 position. Rides queue_event_cursors_pkey, queue_event_parked_pkey.
with forgotten as (
    delete from {schema}.queue_event_parked k where k.group_name = $1::text and k.pos > $2::bigint
)
update {schema}.queue_event_cursors c
set pos = $2::bigint, epoch = nextval('{schema}.event_epoch'), owner = null, consumer = null, lease_until = '-infinity',
    attempts = 0, retry_at = null, error = null
where c.group_name = $1::text
