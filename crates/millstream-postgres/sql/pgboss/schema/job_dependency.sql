-- Which jobs wait for which.
create table {schema}.job_dependency (
    child_name text not null,
    child_id uuid not null,
    parent_name text not null,
    parent_id uuid not null,
    primary key (child_name, child_id, parent_name, parent_id)
)
