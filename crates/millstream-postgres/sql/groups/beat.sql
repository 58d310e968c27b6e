-- Registers or renews a member and what it holds. No row: there is no such group.
-- $1 group, $2 member, $3 consumer, $4 partitions, $5 their epochs. Rides queue_event_members_pkey,
-- queue_event_cursors_pkey.
select b.share, b.members, b.paused, b.free, b.lost
from {schema}.beat_member($1::text, $2::text, $3::text, $4::integer[], $5::bigint[]) as b
