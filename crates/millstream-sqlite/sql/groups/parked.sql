-- Events put aside, by position. ?1 group, ?2 only after, ?3 at most. Rides the primary key.
SELECT pos, stream, stops_stream, error, attempts, parked_at FROM queue_event_parked
WHERE grp = ?1 AND pos > ?2
ORDER BY pos
LIMIT ?3;
