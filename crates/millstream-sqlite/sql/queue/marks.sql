-- The signal counters of every queue, for the watcher. Reads the whole table: a handful of rows.
SELECT name, ready_seq, beat_seq FROM queue;
