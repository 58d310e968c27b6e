-- Makes a repeat of an append harmless.
-- ?1 key, ?2 first position, ?3 last position, ?4 version, ?5 time.
INSERT INTO event_key (key, first, last, version, created_at) VALUES (?1, ?2, ?3, ?4, ?5);
