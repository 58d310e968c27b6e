-- Keeps retention from moving the log's beginning for the rest of the transaction.
select pg_advisory_xact_lock_shared(hashtext('{schema}.retention'), 0)
