-- The first schema: jobs, events, run state.
--
-- Names are qualified everywhere; nothing depends on a search path. Text keys compare byte by byte (collate "C"),
-- which is what prefixes need.

-- The store's clock. Every time that is stored or compared comes from here. It is one call of a built-in function,
-- inlined into each statement; a test that moves the time replaces the function.
create function {schema}.now() returns timestamptz language sql volatile parallel safe
as $$ select pg_catalog.clock_timestamp() $$;

create table {schema}.queue (
    id     integer generated always as identity primary key,
    name   text collate "C" not null unique,
    paused boolean not null default false
);

-- Jobs are numbered in the order of intake, and every return to ready takes a new number from the same sequence: so
-- a job that never waited twice needs one number.
create sequence {schema}.job_seq;
-- The unique part of claims.
create sequence {schema}.claim_seq;

-- A job's body, written once. Payloads are json, not jsonb: kept as they came, and cheaper to take in. No foreign
-- keys: checking them would lock the queue's row for every job. The key holds `id`, so that the table can be
-- partitioned by it.
create table {schema}.job (
    queue      integer not null,
    id         bigint not null,
    key        text collate "C",                   -- the caller's own id; null: the id is made of `id` and `created_at`
    name       text not null,
    data       json not null,
    trace      json,
    settings   json,                               -- null: the settings of a job that asks for nothing
    created_at timestamptz not null,
    primary key (queue, id)
);

-- The callers' own ids, in every state of their jobs. A table of its own, because a unique index of a partitioned
-- table would have to contain the number.
create table {schema}.job_key (
    queue integer not null,
    key   text collate "C" not null,
    job   bigint not null,
    primary key (queue, key)
);

-- A job that is not finished: narrow, because every move rewrites it.
create table {schema}.job_live (
    queue       integer not null,
    job         bigint not null,
    state       "char" not null check (state in ('w', 'd', 'a')),   -- waiting, delayed, active
    cancel      boolean not null default false,
    priority    integer not null,
    seq         bigint not null,
    run_at      timestamptz not null,
    attempt     integer not null default 0 check (attempt >= 0),
    attempts    integer not null,
    life        integer not null default 0,        -- how often an operator ran it again
    claim       bigint,
    lease_until timestamptz,
    started_at  timestamptz,
    error       json,
    removal     json,                              -- null: it stays; else what becomes of it by its end
    primary key (queue, job),
    check ((state = 'a') = (claim is not null)),
    check ((state = 'a') = (lease_until is not null))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.1);
create index job_ready on {schema}.job_live (queue, priority, seq) where state = 'w';
create index job_due on {schema}.job_live (run_at, seq) where state = 'd';
create index job_lease on {schema}.job_live (lease_until) where state = 'a';

-- A finished job.
create table {schema}.job_done (
    queue       integer not null,
    job         bigint not null,
    state       "char" not null check (state in ('c', 'f', 'x')),   -- completed, failed, cancelled
    cancel      boolean not null,
    run_at      timestamptz not null,
    attempt     integer not null,
    attempts    integer not null,
    life        integer not null,
    started_at  timestamptz,
    finished_at timestamptz not null,
    output      json,
    error       json,
    keep        integer,                           -- so many of its kind stay
    expires_at  timestamptz,
    primary key (queue, job)
);
create index job_done_state on {schema}.job_done (queue, state, job);
create index job_done_keep on {schema}.job_done (queue, state, finished_at, job) where keep is not null;
create index job_done_expires on {schema}.job_done (expires_at) where expires_at is not null;

create table {schema}.job_progress (
    queue integer not null,
    job   bigint not null,
    value json not null,
    primary key (queue, job)
) with (fillfactor = 70);

-- What each transaction changed of its queues' counts; folded now and then. Counts are sums: right in the commit that
-- changes them, and nobody waits for anybody.
create table {schema}.queue_tally (
    queue     integer not null,
    waiting   bigint not null default 0,
    delayed   bigint not null default 0,
    active    bigint not null default 0,
    completed bigint not null default 0,
    failed    bigint not null default 0,
    cancelled bigint not null default 0
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

create table {schema}.schedule (
    queue   integer not null,
    key     text collate "C" not null,
    body    json not null,
    next_at timestamptz,
    last_at timestamptz,
    primary key (queue, key)
);
create index schedule_due on {schema}.schedule (next_at) where next_at is not null;

-- Which processes watch queues, by real time: a moved clock of the store must not blind people.
create table {schema}.queue_watcher (
    origin text primary key,
    until  timestamptz not null
);
-- Queue events on their way to watchers in other processes; written only while there are some.
create table {schema}.queue_feed (
    id     bigint generated always as identity primary key,
    origin text not null,
    event  text not null,
    at     timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

create table {schema}.state (
    key        text collate "C" primary key,
    value      json not null,
    expires_at timestamptz
);
create index state_expires on {schema}.state (expires_at) where expires_at is not null;

-- The flow index, written by the settle that changes a run.
create table {schema}.queue_flow_index (
    flow_name    text not null,
    run_id       text collate "C" primary key,
    started_at   timestamptz not null,
    completed_at timestamptz,
    status       text not null
);
create index queue_flow_index_flow on {schema}.queue_flow_index (flow_name, started_at);

-- Events that are committed but not numbered yet; normally a few rows. One number a call, so that what was appended
-- together stays together. A cause's number is below its effect's: the sequence caches nothing.
create sequence {schema}.event_seq cache 1;
create table {schema}.queue_event_inbox (
    id        bigint not null,
    part      integer not null,
    stream    text not null check (octet_length(stream) between 1 and 255),
    version   bigint,
    type      text not null check (octet_length(type) between 1 and 512),
    run_id    text,
    flow_name text,
    step_name text,
    step_id   text,
    attempt   integer,
    data      jsonb not null,
    ts        timestamptz not null,
    primary key (id, part)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- The log. `id` is the position: dense, in the order in which appends became visible, written by the sequencer alone.
-- `ts` never decreases with it, so that a time is found by bisection.
create table {schema}.queue_events (
    id        bigint primary key,
    stream    text collate "C" not null,
    version   bigint,
    ts        timestamptz not null,
    type      text not null,
    run_id    text,
    flow_name text,
    step_name text,
    step_id   text,
    attempt   integer,
    data      jsonb not null,
    bucket    smallint not null                    -- of the stream, for consumer groups
) partition by range (id);
create index queue_events_stream on {schema}.queue_events (stream, id);
create index queue_events_ts on {schema}.queue_events using brin (ts);
-- For people: what of a type came lately, and how much of each.
create index queue_events_type on {schema}.queue_events (type, ts);

-- The partitions of the log, made ahead by `make_event_partitions`.
create table {schema}.event_partition (
    first_id  bigint primary key,
    last_id   bigint not null,
    name      text not null,
    closed_at timestamptz                          -- when it was first seen full: all its events were numbered before
);

create table {schema}.event_head (
    one       boolean primary key default true check (one),
    pos       bigint not null default 0,           -- the last position written
    first_pos bigint not null default 1,           -- the first position still stored
    make_at   bigint not null default 0,           -- from this position on, partitions are to be made
    last_ts   timestamptz not null default '-infinity',
    log_id    uuid not null default gen_random_uuid()
) with (fillfactor = 10);
insert into {schema}.event_head default values;

-- Only streams whose appends expect a version.
create table {schema}.event_stream (
    stream  text collate "C" primary key,
    version bigint not null
) with (fillfactor = 70);

create table {schema}.event_key (
    key        text collate "C" primary key,
    version    bigint,
    created_at timestamptz not null
);
create index event_key_age on {schema}.event_key (created_at);
