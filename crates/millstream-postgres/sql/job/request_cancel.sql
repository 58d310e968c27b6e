-- Notes that a running job is to be cancelled.
-- $1 queue, $2 job. Rides job_live_pkey.
update {schema}.job_live l set cancel = true
where l.queue = $1::integer and l.job = $2::bigint and l.state = 'a'
returning l.job
