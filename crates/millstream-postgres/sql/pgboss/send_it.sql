-- Takes ticks that wait to be sent on, and completes them: the same transaction sends them.
-- $1 at most so many. Rides job_i11.
with clock as materialized (
    select {boss}.job_now() as now
), picked as materialized (
    select x.tid from clock c cross join lateral (
        select j.ctid as tid from {boss}.job_common j
        where j.name = '__pgboss__send-it' and j.state < 'active' and not j.blocked and j.start_after <= c.now
        order by j.priority desc, j.created_on limit $1::bigint for update skip locked
    ) x
), sent as (
    update {boss}.job_common j
    set state = 'completed', retry_count = j.retry_count + (j.started_on is not null)::integer, started_on = c.now,
        heartbeat_on = c.now, completed_on = c.now
    from clock c where j.ctid = any (array(select tid from picked))
    returning j.data, j.created_on
)
select s.data::text as data from sent s order by s.created_on
