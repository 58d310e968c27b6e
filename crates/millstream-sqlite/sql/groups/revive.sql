-- Lets halted partitions try again, in an epoch that nobody owns. ?1 group, ?2 epoch, ?3 attempts that halt.
-- Rides the primary key.
UPDATE queue_event_cursors SET epoch = ?2, owner = NULL, lease_until = 0, attempts = 0, retry_at = 0, error = NULL
WHERE grp = ?1 AND attempts >= ?3;
