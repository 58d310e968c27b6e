-- Who waits for a job.
create index job_dep_parent_idx on {schema}.job_dependency (parent_name, parent_id)
