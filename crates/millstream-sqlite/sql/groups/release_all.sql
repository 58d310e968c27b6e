-- Gives back all that a member has. ?1 group, ?2 member. Rides the primary key.
UPDATE queue_event_cursors SET owner = NULL, lease_until = 0 WHERE grp = ?1 AND owner = ?2;
