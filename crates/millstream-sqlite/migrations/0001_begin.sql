-- The first schema: jobs, events, run state.
--
-- Times are microseconds since 1970 in UTC. Text is compared byte by byte (BINARY), which is what prefixes need.

-- One row. What every write transaction numbers from; only the holder of the write lock reads it to write.
CREATE TABLE ledger (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    -- Names this file in realms: a copy that goes on elsewhere is a restored backup, and says so by position.
    store      TEXT    NOT NULL,
    -- Position of the last event. Not max(id): it must not go back when retention empties the log.
    event_head INTEGER NOT NULL DEFAULT 0,
    -- Time of the last event: times never go back along positions, so a time can be looked up by bisection.
    event_ts   INTEGER NOT NULL DEFAULT 0,
    -- The order of becoming ready, of finishing, and the unique part of tokens.
    seq        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE queue (
    id        INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL UNIQUE,
    paused    INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    -- Grow with every signal, so that other processes see there was one.
    ready_seq INTEGER NOT NULL DEFAULT 0,
    beat_seq  INTEGER NOT NULL DEFAULT 0,
    -- Jobs by state, right in the commit that changes them.
    waiting   INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    delayed   INTEGER NOT NULL DEFAULT 0 CHECK (delayed >= 0),
    active    INTEGER NOT NULL DEFAULT 0 CHECK (active >= 0),
    completed INTEGER NOT NULL DEFAULT 0 CHECK (completed >= 0),
    failed    INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    cancelled INTEGER NOT NULL DEFAULT 0 CHECK (cancelled >= 0)
) STRICT;

-- A job's body, written once. Its rowid is the order of intake.
CREATE TABLE job (
    id         INTEGER PRIMARY KEY,
    queue      INTEGER NOT NULL REFERENCES queue (id),
    job        TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    data       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    trace      TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (queue, job)
) STRICT;
-- Listings, newest first: the rowid is the index's last column.
CREATE INDEX job_intake ON job (queue);

-- A job that is not finished: narrow, because every move rewrites it.
CREATE TABLE job_live (
    job              INTEGER PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,
    queue            INTEGER NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('waiting', 'delayed', 'active')),
    priority         INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    -- The seq with which this life of the job began: retries keep it, running a finished job again does not.
    life             INTEGER NOT NULL,
    run_at           INTEGER NOT NULL,
    attempt          INTEGER NOT NULL CHECK (attempt >= 0),
    started_at       INTEGER,
    token            TEXT,
    lease_until      INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    error            TEXT,
    -- A claim and its lease exist exactly while the job is active.
    CHECK ((state = 'active') = (token IS NOT NULL)),
    CHECK ((state = 'active') = (lease_until IS NOT NULL))
) STRICT;
CREATE INDEX job_ready ON job_live (queue, priority, seq) WHERE state = 'waiting';
CREATE INDEX job_due ON job_live (run_at) WHERE state = 'delayed';
CREATE INDEX job_lease ON job_live (lease_until) WHERE state = 'active';
-- Listings by state, newest first.
CREATE INDEX job_live_state ON job_live (queue, state);

-- A finished job.
CREATE TABLE job_done (
    job              INTEGER PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,
    queue            INTEGER NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('completed', 'failed', 'cancelled')),
    -- The order of finishing.
    seq              INTEGER NOT NULL,
    run_at           INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    output           TEXT,
    error            TEXT,
    -- Retention, from the job's settings.
    keep             INTEGER,
    expires_at       INTEGER
) STRICT;
CREATE INDEX job_done_state ON job_done (queue, state);
CREATE INDEX job_done_keep ON job_done (queue, state, seq) WHERE keep IS NOT NULL;
CREATE INDEX job_done_expires ON job_done (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE job_progress (
    job   INTEGER PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE schedule (
    id      INTEGER PRIMARY KEY,
    queue   INTEGER NOT NULL REFERENCES queue (id),
    key     TEXT    NOT NULL,
    body    TEXT    NOT NULL,
    next_at INTEGER,
    last_at INTEGER,
    UNIQUE (queue, key)
) STRICT;
CREATE INDEX schedule_due ON schedule (next_at) WHERE next_at IS NOT NULL;

-- The log. `id` is the position: dense, numbered under the write lock.
CREATE TABLE queue_events (
    id        INTEGER PRIMARY KEY,
    stream    TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    ts        INTEGER NOT NULL,
    type      TEXT    NOT NULL,
    run_id    TEXT,
    flow_name TEXT,
    step_name TEXT,
    step_id   TEXT,
    attempt   INTEGER,
    data      TEXT    NOT NULL
) STRICT;
CREATE INDEX queue_events_stream ON queue_events (stream);

CREATE TABLE event_stream (
    stream  TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE event_key (
    key        TEXT PRIMARY KEY,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX event_key_age ON event_key (created_at);

CREATE TABLE state (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX state_expires ON state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE queue_flow_index (
    run_id       TEXT PRIMARY KEY,
    flow_name    TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    completed_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_flow_index_flow ON queue_flow_index (flow_name, started_at);

-- Which processes watch which queues, by real time: a frozen or stepped store clock must not blind people.
CREATE TABLE queue_watcher (
    origin TEXT    NOT NULL,
    -- By name: watching a queue does not begin it.
    queue  TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (origin, queue)
) STRICT, WITHOUT ROWID;

-- Queue events on their way to watchers in other processes; written only while there are some.
CREATE TABLE queue_feed (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    origin TEXT NOT NULL,
    event  TEXT NOT NULL
) STRICT;
