-- Finished jobs that are too many, of those that are kept by number.
-- $1 queue, $2 end, $3 how many stay, $4 at most so many. Rides boss_job_keep.
select d.queue, d.job::text as job from (
    select b.queue, b.job, b.keep from {schema}.boss_job b
    where b.boss = '{name}' and b.queue = $1::text and b.done = $2::text::"char" and b.keep is not null
    order by b.done_at desc, b.job desc offset $3::integer
) d
where d.keep = $3::integer
limit $4::bigint
