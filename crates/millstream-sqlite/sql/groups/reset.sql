-- Sets every cursor, in an epoch that nobody owns. ?1 group, ?2 position, ?3 epoch. Rides the primary key.
UPDATE queue_event_cursors
SET pos = ?2, epoch = ?3, owner = NULL, lease_until = 0, attempts = 0, retry_at = 0, error = NULL
WHERE grp = ?1;
