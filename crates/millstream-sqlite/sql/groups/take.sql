-- Gives a partition to a member. ?1 group, ?2 partition, ?3 epoch, ?4 member, ?5 lease until. Rides the primary key.
UPDATE queue_event_cursors SET epoch = ?3, owner = ?4, lease_until = ?5 WHERE grp = ?1 AND part = ?2;
