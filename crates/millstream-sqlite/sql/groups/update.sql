-- What may change of a group. ?1 group, ?2 poison, ?3 attempts, ?4 retain, ?5 lease. Rides the primary key.
UPDATE queue_event_groups SET poison = ?2, attempts = ?3, retain = ?4, lease = ?5 WHERE id = ?1;
