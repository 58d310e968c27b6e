-- Counts queues, unless somebody else is at it or pg-boss asked for rest. Answers those that were counted.
-- $1 queues. Rides job_i14.
with gate as materialized (
    select pg_try_advisory_xact_lock(
               ('x' || left(encode(sha224(convert_to(current_database() || '.pgboss.{name}queue-stats', 'UTF8')), 'hex'), 16))::bit(64)::bigint)
           as mine, {boss}.job_now() as now, (select v.monitor_backoff_on from {boss}.version v) as rest
), counted as materialized (
    select q.name, g.now, n.* from gate g cross join unnest($1::text[]) as q(name) cross join lateral (
        select count(*) filter (where j.state < 'active' and not j.blocked and j.start_after > g.now) as deferred,
               count(*) filter (where j.state < 'active' and j.blocked) as held,
               count(*) filter (where j.state < 'active' and not j.blocked and j.start_after <= g.now) as ready,
               count(*) filter (where j.state = 'active') as active,
               count(*) filter (where j.state = 'failed') as failed,
               array_agg(distinct j.singleton_key) filter (where j.state = 'active' and j.policy in ('singleton', 'stately')) as keys
        from {job} j where j.name = q.name and j.state in ('created', 'retry', 'active', 'failed')
    ) n
    where g.mine and (g.rest is null or g.rest <= g.now)
)
update {boss}.queue q
set deferred_count = c.deferred, ready_count = c.ready, queued_count = c.deferred + c.held + c.ready, active_count = c.active,
    failed_count = c.failed,
    blocked_count = c.held, -- from 44
    total_count = c.deferred + c.held + c.ready + c.active + c.failed + coalesce(q.retained_count, 0), -- from 46
    singletons_active = c.keys, monitor_on = c.now, ready_history = (c.ready::integer || q.ready_history)[1:60]
from counted c where q.name = c.name
returning q.name
