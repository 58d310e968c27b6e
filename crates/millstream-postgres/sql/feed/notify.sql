-- Wakes other processes. Its commit need not be durable.
-- $1 channel, $2 what for.
select set_config('synchronous_commit', 'off', true), pg_notify($1::text, $2::text)
