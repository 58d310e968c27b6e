-- A group's cursors, by partition, with their owners' names. ?1 group, ?2 now. Rides the primary keys.
SELECT c.part, c.pos, c.epoch, m.consumer, c.attempts, c.error
FROM queue_event_cursors AS c
LEFT JOIN queue_event_members AS m ON m.grp = c.grp AND m.member = c.owner AND c.lease_until > ?2
WHERE c.grp = ?1
ORDER BY c.part;
