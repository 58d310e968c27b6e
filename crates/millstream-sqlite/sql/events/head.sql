-- The last position, and the first that is still there (NULL in an empty log). Rides primary keys.
SELECT event_head, (SELECT min(id) FROM queue_events) FROM ledger WHERE id = 1;
