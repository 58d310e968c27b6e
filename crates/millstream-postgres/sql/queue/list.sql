-- Queues with their counts, by name.
-- $1 one name, or null for all. Reads the tallies, which are kept few by folding.
select q.name, q.paused,
       coalesce(sum(t.waiting), 0)::bigint as waiting, coalesce(sum(t.delayed), 0)::bigint as delayed,
       coalesce(sum(t.active), 0)::bigint as active, coalesce(sum(t.completed), 0)::bigint as completed,
       coalesce(sum(t.failed), 0)::bigint as failed, coalesce(sum(t.cancelled), 0)::bigint as cancelled
from {schema}.queue q left join {schema}.queue_tally t on t.queue = q.id
where $1::text is null or q.name = $1::text
group by q.id, q.name, q.paused
order by q.name
