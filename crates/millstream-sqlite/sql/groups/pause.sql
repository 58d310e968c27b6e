-- ?1 group, ?2 whether it is paused. Rides the primary key.
UPDATE queue_event_groups SET paused = ?2 WHERE id = ?1;
