-- Removes one finished job, and what is beside it; what is beside a job that pg-boss removed goes as well. Answers a row
-- where anything went.
-- $1 queue, $2 job. Rides job_pkey, boss_job_pkey.
with gone as (
    delete from {job} j
    where j.ctid = ({seek $1::text | $2::text::uuid}) and j.name = $1::text and j.id = $2::text::uuid and j.state > 'active' returning j.id
)
delete from {schema}.boss_job b
where b.boss = '{name}' and b.queue = $1::text and b.job = $2::text::uuid
  and (exists (select from gone) or not exists (select from {job} j where j.name = $1::text and j.id = $2::text::uuid))
returning b.job::text as job
