-- Empties the feed once nobody watches. Reads the whole feed, which is bounded.
DELETE FROM queue_feed WHERE NOT EXISTS (SELECT 1 FROM queue_watcher);
