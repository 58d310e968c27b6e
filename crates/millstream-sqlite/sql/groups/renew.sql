-- Renews a partition that is still its owner's. ?1 group, ?2 partition, ?3 epoch, ?4 member, ?5 lease until.
-- Rides the primary key.
UPDATE queue_event_cursors SET lease_until = ?5 WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND owner = ?4;
