-- What passes counted, over time, where somebody has it kept: one partition a day.
create table {schema}.queue_stats (
    id uuid not null default gen_random_uuid(),
    name text not null,
    deferred_count integer not null default 0,
    queued_count integer not null default 0,
    ready_count integer not null default 0,
    active_count integer not null default 0,
    failed_count integer not null default 0,
    total_count integer not null default 0,
    created_delta integer,
    completed_delta integer,
    failed_delta integer,
    delta_seconds integer,
    delta_on timestamptz,
    wait_bins integer[],
    run_bins integer[],
    ready_oldest_seconds integer,
    captured_on timestamptz not null default now(),
    primary key (id, captured_on)
) partition by range (captured_on)
