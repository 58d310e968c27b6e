-- Removes values that have expired.
-- ?1 now, ?2 at most so many. Rides state_expires.
DELETE FROM state
WHERE key IN (SELECT key FROM state WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2);
