-- A queue that names this one as its dead letter queue, itself or by a job.
-- $1 queue. Reads the jobs of queues with dead letters.
select x.name from (
    select q.name from {boss}.queue q where q.dead_letter = $1::text
    union all
    select j.name from {boss}.job j where j.dead_letter = $1::text and j.name <> $1::text
) x limit 1
