-- Consumer groups of the log.

CREATE TABLE queue_event_groups (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    -- As a pattern is written: `*`, a name, or a prefix and `*`.
    pattern    TEXT    NOT NULL,
    -- A JSON array, sorted; empty: all.
    types      TEXT    NOT NULL,
    partitions INTEGER NOT NULL CHECK (partitions BETWEEN 1 AND 1024),
    poison     TEXT    NOT NULL CHECK (poison IN ('stop', 'park_event', 'park_stream')),
    attempts   INTEGER NOT NULL CHECK (attempts > 0),
    retain     INTEGER NOT NULL CHECK (retain IN (0, 1)),
    -- Microseconds.
    lease      INTEGER NOT NULL CHECK (lease > 0),
    paused     INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1))
) STRICT;

-- One row a partition: everything up to `pos` is done.
CREATE TABLE queue_event_cursors (
    grp         INTEGER NOT NULL REFERENCES queue_event_groups (id) ON DELETE CASCADE,
    part        INTEGER NOT NULL,
    pos         INTEGER NOT NULL,
    -- From the ledger's sequence, so that none comes twice, not even for a group that was deleted and made again.
    epoch       INTEGER NOT NULL,
    -- A member's id.
    owner       TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,
    -- Failures on the event behind the cursor.
    attempts    INTEGER NOT NULL DEFAULT 0,
    retry_at    INTEGER NOT NULL DEFAULT 0,
    error       TEXT,
    PRIMARY KEY (grp, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE queue_event_members (
    grp      INTEGER NOT NULL REFERENCES queue_event_groups (id) ON DELETE CASCADE,
    member   TEXT    NOT NULL,
    consumer TEXT    NOT NULL,
    seen     INTEGER NOT NULL,
    PRIMARY KEY (grp, member)
) STRICT, WITHOUT ROWID;

-- Events put aside.
CREATE TABLE queue_event_parked (
    grp          INTEGER NOT NULL REFERENCES queue_event_groups (id) ON DELETE CASCADE,
    pos          INTEGER NOT NULL,
    stream       TEXT    NOT NULL,
    stops_stream INTEGER NOT NULL CHECK (stops_stream IN (0, 1)),
    error        TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    parked_at    INTEGER NOT NULL,
    PRIMARY KEY (grp, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_event_parked_stream ON queue_event_parked (grp, stream) WHERE stops_stream = 1;

-- For people: who consumes what, and how far.
CREATE VIEW queue_event_subscriptions AS
SELECT g.pattern AS stream_pattern, g.name AS consumer_group, m.consumer AS consumer_name,
       min(c.pos) AS last_id, max(m.seen) AS last_seen
FROM queue_event_groups AS g
JOIN queue_event_cursors AS c ON c.grp = g.id
LEFT JOIN queue_event_members AS m ON m.grp = g.id AND m.member = c.owner
GROUP BY g.id, m.consumer;
