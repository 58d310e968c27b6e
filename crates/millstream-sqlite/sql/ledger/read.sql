-- The numbers that this write transaction goes on from. Rides the primary key.
SELECT event_head, event_ts, seq FROM ledger WHERE id = 1;
