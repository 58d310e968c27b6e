-- Moves the counts and signal counters of a queue by what one transaction did; answers the counters.
-- ?1 queue, ?2 to ?7 waiting, delayed, active, completed, failed, cancelled, ?8 ready signals, ?9 beat signals.
-- Rides the primary key.
UPDATE queue
SET waiting = waiting + ?2, delayed = delayed + ?3, active = active + ?4,
    completed = completed + ?5, failed = failed + ?6, cancelled = cancelled + ?7,
    ready_seq = ready_seq + ?8, beat_seq = beat_seq + ?9
WHERE id = ?1
RETURNING name, ready_seq, beat_seq;
