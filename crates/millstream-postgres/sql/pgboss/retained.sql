-- Notes what a whole pass over a queue left.
-- $1 queue, $2 completed and cancelled jobs, $3 the others. Rides queue_pkey.
update {boss}.queue q
set total_count = $2::bigint + $3::bigint
    , retained_count = $2::bigint, retained_on = {boss}.job_now() -- from 46
where q.name = $1::text
