-- A value, unless it has expired.
-- ?1 key, ?2 now. Rides the primary key.
SELECT value FROM state WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2);
