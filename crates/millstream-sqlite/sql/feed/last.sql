-- The last queue event handed on; NULL for none. Rides the primary key.
SELECT max(id) FROM queue_feed;
