-- Hands a queue event to the other processes.
-- ?1 this process, ?2 the event.
INSERT INTO queue_feed (origin, event) VALUES (?1, ?2);
