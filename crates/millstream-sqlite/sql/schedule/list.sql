-- Schedules by queue and key.
-- ?1 queue name or NULL for all. Reads the whole table: people write schedules, so there are few.
SELECT s.id, s.body, s.next_at, s.last_at
FROM schedule AS s JOIN queue AS q ON q.id = s.queue
WHERE ?1 IS NULL OR q.name = ?1
ORDER BY q.name, s.key;
