-- The file's own name, for its realm. Rides the primary key.
SELECT store FROM ledger WHERE id = 1;
