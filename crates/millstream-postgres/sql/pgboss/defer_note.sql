-- Notes a call whose jobs' rows are locked by another transaction: it is a commit by itself.
-- $1 the call, $2 when it started, $3 the queue, $4 its jobs, $5 earlier calls whose jobs are all settled.
with over as (
    delete from {schema}.boss_claim b where b.id = any ($5::bigint[])
)
insert into {schema}.boss_claim (id, boss, at, started, queues, jobs, deferred) overriding system value
values ($1::bigint, '{name}', {boss}.job_now(), $2::timestamptz, array[$3::text], $4::uuid[], true)
returning id
