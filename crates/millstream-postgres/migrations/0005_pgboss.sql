-- Beside pg-boss's tables: what they have no column for. `boss` is the name of pg-boss's schema, so that one schema of
-- ours serves several. Nothing here is needed to read a job that pg-boss made.

-- Queues that are paused, for workers of Millstream.
create table {schema}.boss_queue (
    boss   text not null,
    queue  text not null,
    paused boolean not null default false,
    primary key (boss, queue)
);

-- What a row of pg-boss's cannot say of a job. Most jobs have none.
create table {schema}.boss_job (
    boss       text not null,
    queue      text not null,
    job        uuid not null,
    key        text,                               -- the caller's own id, where it is no UUID
    name       text,                               -- the job's name, where the data cannot hold it
    options    json,                               -- options that whole seconds cannot say
    trace      json,                               -- where pg-boss's row has no column for it
    removal    json,                               -- null: pg-boss's retention; else what becomes of it by its end
    cancel     boolean not null default false,     -- somebody asked its holder to cancel it
    life       integer not null default 0,         -- how often an operator ran it again
    progress   json,
    done       "char",                             -- how it ended, where it is kept for a while
    done_at    timestamptz,
    keep       integer,                            -- so many of its kind stay
    expires_at timestamptz,
    primary key (boss, queue, job)
);
create index boss_job_keep on {schema}.boss_job (boss, queue, done, done_at, job) where keep is not null;
create index boss_job_expires on {schema}.boss_job (boss, expires_at) where expires_at is not null;

-- Which claims are Millstream's: a row for each call that claimed, until its jobs are settled. What is left a lease
-- after its last beat is rescued; jobs that pg-boss's own workers hold are pg-boss's business.
create table {schema}.boss_claim (
    id      bigint generated always as identity primary key,
    boss    text not null,
    at      timestamptz not null,
    started timestamptz not null,
    queues  text[] not null,
    jobs    uuid[] not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Ticks of schedules, and what a schedule of ours says beyond pg-boss's words.
create table {schema}.boss_schedule (
    boss    text not null,
    queue   text not null,
    key     text not null,
    body    json,                                  -- null: pg-boss's own schedule
    seen    text not null,                         -- the expression and time zone that the next tick was counted by
    next_at timestamptz,
    last_at timestamptz,
    primary key (boss, queue, key)
);

-- Until when jobs that became due were told to watchers.
create table {schema}.boss_due (
    boss text primary key,
    upto timestamptz not null
);

-- Until when a claim of Millstream's holds: a lease after its last beat. A job with a heartbeat of pg-boss's own ends by
-- that heartbeat; where it is shorter than the lease, beats are written ahead by the difference.
create function {schema}.boss_until(beat timestamptz, seconds integer, lease bigint) returns timestamptz
language sql stable parallel safe as $$
    select beat + least(lease, coalesce(seconds * 1000000::bigint, lease)) * interval '1 microsecond'
$$;
