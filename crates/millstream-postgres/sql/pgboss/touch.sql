-- Notes a heartbeat of running jobs.
-- $1 queue, $2 jobs. Rides job_pkey.
update {job} j set heartbeat_on = greatest(j.heartbeat_on, {boss}.job_now())
where j.ctid = any (array(
    select x.tid from unnest($2::text[]) as u(id) cross join lateral ({seek $1::text | u.id::uuid}) s cross join lateral (
        select j.ctid as tid from {job} j
        where j.ctid = s.tid and j.name = $1::text and j.id = u.id::uuid and j.state is not distinct from 'active' for update
    ) x))
returning j.id
