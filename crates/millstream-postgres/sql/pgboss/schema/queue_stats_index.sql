-- A queue's history, newest first, without a visit to the table.
create index queue_stats_i1 on {schema}.queue_stats (name, captured_on desc)
include (deferred_count, queued_count, ready_count, active_count, failed_count, total_count)
