-- Writes a value.
-- ?1 key, ?2 value, ?3 when it expires or NULL. Rides the primary key.
INSERT INTO state (key, value, expires_at) VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at;
