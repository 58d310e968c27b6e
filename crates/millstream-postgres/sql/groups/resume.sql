-- Ends a pause, and frees halted partitions in a new epoch. No row: there is no such group.
-- $1 name. Rides queue_event_groups_pkey, queue_event_cursors_pkey.
with resumed as (
    update {schema}.queue_event_groups g set paused = false where g.name = $1::text returning g.poison, g.attempts
), freed as (
    update {schema}.queue_event_cursors c
    set attempts = 0, retry_at = null, epoch = nextval('{schema}.event_epoch'), owner = null, consumer = null, lease_until = '-infinity'
    where c.group_name = $1::text
      and (select r.poison = 'stop' and c.attempts >= r.attempts from resumed r)
)
select 1 from resumed
