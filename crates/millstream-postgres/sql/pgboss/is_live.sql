-- Whether a job is not finished.
-- $1 queue, $2 job. Rides job_pkey.
select 1 from {job} j where j.ctid = ({seek $1::text | $2::text::uuid}) and j.name = $1::text and j.id = $2::text::uuid and j.state <= 'active'
