-- A cursor of a new group. ?1 group, ?2 partition, ?3 position, ?4 epoch.
INSERT INTO queue_event_cursors (grp, part, pos, epoch) VALUES (?1, ?2, ?3, ?4);
