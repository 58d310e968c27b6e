-- How long the log keeps events, for every process. No row: as each process was opened.
CREATE TABLE event_retention (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    -- Microseconds; NULL: whatever their age.
    age    INTEGER CHECK (age > 0),
    -- NULL: whatever their number.
    events INTEGER CHECK (events > 0)
) STRICT;
