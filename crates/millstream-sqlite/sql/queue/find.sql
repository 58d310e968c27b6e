-- A queue by name.
-- ?1 name. Rides the unique index on the name.
SELECT id, paused FROM queue WHERE name = ?1;
