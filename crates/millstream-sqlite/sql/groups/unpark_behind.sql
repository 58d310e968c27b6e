-- Forgets what was parked behind a position. ?1 group, ?2 position. Rides the primary key.
DELETE FROM queue_event_parked WHERE grp = ?1 AND pos > ?2;
