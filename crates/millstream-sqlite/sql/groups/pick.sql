-- Partitions that nobody has, by number. ?1 group, ?2 now, ?3 at most. Rides the primary key.
SELECT part, pos, attempts, retry_at FROM queue_event_cursors
WHERE grp = ?1 AND (owner IS NULL OR lease_until <= ?2)
ORDER BY part
LIMIT ?3;
