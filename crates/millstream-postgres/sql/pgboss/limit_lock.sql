-- Waits for the turn to claim from a queue whose groups are limited: one claim at a time counts what runs and adds to it,
-- so it has to be a statement before those that count. Whoever stops in the middle loses its turn, and its connection.
-- $1 queue. Answers the limit, or null.
select set_config('idle_in_transaction_session_timeout', '10s', true),
       pg_advisory_xact_lock(hashtextextended('{schema}.boss_limit {name} ' || $1::text, 0)),
       (select l.at_most from {schema}.boss_limit l where l.boss = '{name}' and l.queue = $1::text) as at_most
