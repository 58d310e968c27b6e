-- What an append under this key did.
-- ?1 key. Rides the primary key.
SELECT first, last, version FROM event_key WHERE key = ?1;
