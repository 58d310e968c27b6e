-- Warnings, where somebody has them kept.
create table {schema}.warning (
    id uuid primary key default gen_random_uuid(),
    type text not null,
    message text not null,
    data jsonb,
    created_on timestamptz not null default now()
)
