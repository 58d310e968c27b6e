-- Bounds the feed: who is further behind loses the oldest.
-- ?1 only up to this one. Rides the primary key.
DELETE FROM queue_feed WHERE id <= ?1;
