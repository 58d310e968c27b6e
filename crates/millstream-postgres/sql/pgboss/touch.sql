-- Notes a heartbeat of running jobs.
-- $1 queue, $2 jobs. Rides job_pkey.
update {job} j set heartbeat_on = greatest(j.heartbeat_on, {boss}.job_now())
where j.ctid = any (array(
    select x.tid from unnest($2::text[]) as u(id) cross join lateral (
        select k.ctid as tid from {job} k
        where k.name = $1::text and k.id = u.id::uuid and k.state is not distinct from 'active' for update
    ) x))
returning j.id
