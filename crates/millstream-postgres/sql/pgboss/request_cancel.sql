-- Asks the holder of a running job to cancel it.
-- $1 queue, $2 job. Rides job_pkey, boss_job_pkey.
with held as materialized (
    select j.id from {job} j
    where j.ctid = ({seek $1::text | $2::text::uuid}) and j.name = $1::text and j.id = $2::text::uuid and j.state is not distinct from 'active' for share
)
insert into {schema}.boss_job as b (boss, queue, job, cancel)
select '{name}', $1::text, h.id, true from held h
on conflict (boss, queue, job) do update set cancel = true
returning b.job::text as job
