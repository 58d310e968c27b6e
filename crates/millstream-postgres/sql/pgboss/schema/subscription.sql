-- Which queues get a job when an event is published.
create table {schema}.subscription (
    event text not null,
    name text not null constraint subscription_name_fkey references {schema}.queue (name) on delete cascade,
    created_on timestamptz not null default now(),
    updated_on timestamptz not null default now(),
    primary key (event, name)
)
