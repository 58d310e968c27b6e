-- The slow steps of a migration, which whoever migrates runs one at a time, outside a transaction.
create table {schema}.bam (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    version integer not null,
    status text not null default 'pending',
    queue text,
    table_name text not null,
    command text not null,
    error text,
    -- The clock, not the transaction: the steps of one migration have an order.
    created_on timestamptz not null default clock_timestamp(),
    started_on timestamptz,
    completed_on timestamptz
)
