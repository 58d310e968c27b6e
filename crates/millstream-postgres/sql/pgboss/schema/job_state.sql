-- The states of a job. Their order counts: everything before `active` waits, everything before `completed` is unfinished.
create type {schema}.job_state as enum ('created', 'retry', 'active', 'completed', 'cancelled', 'failed')
