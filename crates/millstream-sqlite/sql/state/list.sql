-- Keys of a prefix, sorted.
-- ?1 and ?2 the range of keys, ?3 now, ?4 at most so many. Rides the primary key.
SELECT key FROM state
WHERE key >= ?1 AND key < ?2 AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY key
LIMIT ?4;
