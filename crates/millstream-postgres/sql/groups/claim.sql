-- Takes partitions that nobody has, each in a new epoch.
-- $1 group, $2 member, $3 consumer, $4 at most so many. Rides queue_event_cursors_pkey.
update {schema}.queue_event_cursors c
set owner = $2::text, consumer = $3::text, epoch = nextval('{schema}.event_epoch'),
    lease_until = (select {schema}.now()) + (select g.lease from {schema}.queue_event_groups g where g.name = $1::text)
where c.ctid = any (array(
    select x.ctid from {schema}.queue_event_cursors x
    where x.group_name = $1::text and (x.owner is null or x.lease_until < (select {schema}.now()))
    order by x.part limit $4::bigint for update skip locked))
returning c.part, c.epoch, c.pos, c.attempts,
    greatest(0, extract(epoch from c.retry_at - (select {schema}.now())) * 1000000)::bigint as wait
