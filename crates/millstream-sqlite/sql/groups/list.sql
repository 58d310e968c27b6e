-- Every group's name, in order. Reads the unique index whole: they are few.
SELECT name FROM queue_event_groups ORDER BY name;
