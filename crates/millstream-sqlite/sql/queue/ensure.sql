-- A queue begins with its first job, schedule or pause.
-- ?1 name. Rides the unique index on the name.
INSERT INTO queue (name) VALUES (?1) ON CONFLICT (name) DO NOTHING;
