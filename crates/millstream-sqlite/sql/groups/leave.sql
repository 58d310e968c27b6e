-- Removes a member. ?1 group, ?2 member. Rides the primary key.
DELETE FROM queue_event_members WHERE grp = ?1 AND member = ?2;
