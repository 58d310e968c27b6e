-- A new group; answers its row.
-- ?1 name, ?2 pattern, ?3 types, ?4 partitions, ?5 poison, ?6 attempts, ?7 retain, ?8 lease.
INSERT INTO queue_event_groups (name, pattern, types, partitions, poison, attempts, retain, lease)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
RETURNING id;
