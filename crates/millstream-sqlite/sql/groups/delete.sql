-- Removes a group and all that hangs on it. ?1 group. Rides the primary key.
DELETE FROM queue_event_groups WHERE id = ?1;
