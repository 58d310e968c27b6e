-- Deletes a value.
-- ?1 key. Rides the primary key.
DELETE FROM state WHERE key = ?1;
