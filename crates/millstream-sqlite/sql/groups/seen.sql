-- Registers a member, or notes that it lives. ?1 group, ?2 member, ?3 consumer, ?4 now. Rides the primary key.
INSERT INTO queue_event_members (grp, member, consumer, seen) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (grp, member) DO UPDATE SET seen = max(seen, ?4);
