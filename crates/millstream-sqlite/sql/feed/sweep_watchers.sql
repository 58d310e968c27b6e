-- Forgets processes that vanished while they watched. Reads the whole table: a row per watching process and queue.
DELETE FROM queue_watcher WHERE until <= unixepoch();
