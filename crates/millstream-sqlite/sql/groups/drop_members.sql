-- Removes members that were not heard of. ?1 group, ?2 last seen at or before. Rides the primary key.
DELETE FROM queue_event_members WHERE grp = ?1 AND seen <= ?2;
