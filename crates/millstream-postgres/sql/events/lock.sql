-- Locks streams for the rest of the transaction, in one order.
-- $1 streams, $2 whether each is appended to under a condition.
select {schema}.lock_streams($1::text[], $2::boolean[])
