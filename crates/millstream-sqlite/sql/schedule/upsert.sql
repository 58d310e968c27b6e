-- Writes or replaces a schedule; its last tick stays.
-- ?1 queue, ?2 key, ?3 body, ?4 next tick. Rides the unique index (queue, key).
INSERT INTO schedule (queue, key, body, next_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (queue, key) DO UPDATE SET body = excluded.body, next_at = excluded.next_at;
