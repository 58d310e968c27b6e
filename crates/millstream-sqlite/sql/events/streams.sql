-- Streams of a prefix.
-- ?1 and ?2 the range of streams, ?3 at most so many. Rides the primary key.
SELECT stream FROM event_stream WHERE stream >= ?1 AND stream < ?2 LIMIT ?3;
