-- When an event was taken in; bisected to find a position by time.
-- ?1 position. Rides the primary key.
SELECT ts FROM queue_events WHERE id = ?1;
