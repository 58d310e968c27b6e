-- Live members by id, with how many partitions each has. ?1 group, ?2 seen after, ?3 now. Rides the primary keys.
SELECT m.member, m.consumer, m.seen,
       (SELECT count(*) FROM queue_event_cursors AS c WHERE c.grp = ?1 AND c.owner = m.member AND c.lease_until > ?3)
FROM queue_event_members AS m
WHERE m.grp = ?1 AND m.seen > ?2
ORDER BY m.member;
