-- Forgets keys that are too old to be repeated.
-- ?1 only up to this time, ?2 at most so many. Rides event_key_age.
DELETE FROM event_key
WHERE key IN (SELECT key FROM event_key WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2);
