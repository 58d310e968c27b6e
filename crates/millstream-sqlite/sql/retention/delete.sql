-- Removes the log's beginning. ?1 up to this position. Rides the primary key.
DELETE FROM queue_events WHERE id <= ?1;
