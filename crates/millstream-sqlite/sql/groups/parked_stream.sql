-- Whether a stream is parked. ?1 group, ?2 stream. Rides queue_event_parked_stream.
SELECT 1 FROM queue_event_parked WHERE grp = ?1 AND stream = ?2 AND stops_stream = 1 LIMIT 1;
