-- What is sent again and again. `cron` holds the expression, whichever kind it is of.
create table {schema}.schedule (
    name text not null constraint schedule_name_fkey references {schema}.queue (name) on delete cascade,
    key text not null default '',
    kind text not null default 'cron' constraint schedule_kind_check check (kind in ('cron', 'rrule')),
    cron text not null,
    timezone text default 'UTC',
    data jsonb,
    options jsonb,
    created_on timestamptz not null default now(),
    updated_on timestamptz not null default now(),
    last_job_id uuid,
    primary key (name, key)
)
