-- Finished jobs that are too many, of those that are kept by number.
-- $1 queue, $2 state, $3 how many stay, $4 at most so many. Rides job_done_keep.
select d.queue, d.job from (
    select d.queue, d.job, d.keep from {schema}.job_done d
    where d.queue = $1::integer and d.state = $2::text::"char" and d.keep is not null
    order by d.finished_at desc, d.job desc offset $3::integer
) d
where d.keep = $3::integer
limit $4::bigint
