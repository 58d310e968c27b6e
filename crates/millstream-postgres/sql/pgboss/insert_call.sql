-- Takes a job in, in its caller's own transaction: as `insert` does, and says whether it did. Every parameter is text: the
-- columns as array literals.
-- $1 to $28 as those of `insert`, $29 the job's id. Rides queue_pkey, job_pkey.
{insert}
select $29::text as id, exists (select from stored) as created
