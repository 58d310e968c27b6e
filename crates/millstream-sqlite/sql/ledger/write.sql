-- Leaves the numbers for the next write transaction.
-- ?1 event head, ?2 time of the last event, ?3 seq. Rides the primary key.
UPDATE ledger SET event_head = ?1, event_ts = ?2, seq = ?3 WHERE id = 1;
