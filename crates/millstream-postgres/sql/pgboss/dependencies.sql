-- Forgets dependencies of which either job is gone.
-- $1 queues. Rides job_dependency_pkey, job_dep_parent_idx, job_pkey.
delete from {boss}.job_dependency d
where (d.child_name = any ($1::text[]) and not exists (
           select from {boss}.job j where j.name = d.child_name and j.id = d.child_id offset 0))
   or (d.parent_name = any ($1::text[]) and not exists (
           select from {boss}.job j where j.name = d.parent_name and j.id = d.parent_id offset 0))
