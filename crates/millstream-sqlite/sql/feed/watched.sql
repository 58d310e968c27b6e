-- Queues that another process watches. Once per write transaction.
-- ?1 this process. Reads the whole table: a row per watching process and queue.
SELECT DISTINCT queue FROM queue_watcher WHERE origin <> ?1 AND until > unixepoch();
