-- The first position that each group needs: behind its slowest cursor if it retains, or of its first event put aside.
-- Reads every group, because they are few; rides the primary keys of their cursors and of what was put aside.
SELECT g.name, min(
    coalesce((SELECT min(c.pos) + 1 FROM queue_event_cursors AS c WHERE c.grp = g.id AND g.retain = 1), 9223372036854775807),
    coalesce((SELECT min(p.pos) FROM queue_event_parked AS p WHERE p.grp = g.id), 9223372036854775807)
) AS needs
FROM queue_event_groups AS g
WHERE g.retain = 1 OR EXISTS (SELECT 1 FROM queue_event_parked AS p WHERE p.grp = g.id)
ORDER BY g.name;
