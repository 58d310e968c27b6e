-- Sends waiting jobs of a dead letter queue again, oldest first: to the queue that each came from, or to one. They begin anew, with
-- what that queue says now. One that is refused there stays as failed, and says why.
-- $1 dead letter queue, $2 destination, or null, $3 only from this queue, or null, $4 at most so many. Rides job_i15.
with clock as materialized (
    select {boss}.job_now() as now
), picked as materialized (
    select x.*, q.name as target, q.policy as target_policy, gen_random_uuid() as fresh, row_number() over () as ord, c.now,
           q.retry_limit as q_limit, q.retry_delay as q_delay, q.retry_backoff as q_backoff, q.retry_delay_max as q_max,
           q.expire_seconds as q_expire, q.deletion_seconds as q_deletion, q.heartbeat_seconds as q_heartbeat,
           q.retention_seconds as q_retention, q.dead_letter as q_dead
    from clock c cross join lateral (
        select j.* from {boss}.job j
        where j.name = $1::text and j.state < 'active' and ($3::text is null or j.source_name = $3::text)
          and exists (select from {boss}.queue k where k.name = coalesce($2::text, j.source_name))
        order by j.created_on limit $4::bigint for update skip locked
    ) x cross join lateral (
        select k.* from {boss}.queue k where k.name = coalesce($2::text, x.source_name) offset 0
    ) q
), sent as (
    insert into {boss}.job (id, name, data, priority, singleton_key, group_id, group_tier, retry_limit, retry_delay, retry_backoff,
                            retry_delay_max, expire_seconds, deletion_seconds, heartbeat_seconds, keep_until, start_after,
                            created_on, policy, dead_letter,
                            trace_context, -- from 44
                            source_root_id)
    select p.fresh, p.target, p.data, p.priority, p.singleton_key, p.group_id, p.group_tier, p.q_limit, p.q_delay, p.q_backoff, p.q_max,
           p.q_expire, p.q_deletion, p.q_heartbeat, p.now + p.q_retention * interval '1 second', p.now,
           p.now + p.ord * interval '1 microsecond', p.target_policy, p.q_dead,
           p.trace_context, -- from 44
           p.source_root_id
    from picked p order by p.ord
    on conflict do nothing
    returning id, name
), gone as (
    delete from {boss}.job j using picked p
    where j.name = p.name and j.id = p.id and p.fresh in (select s.id from sent s)
), refused as (
    update {boss}.job j
    set state = 'failed', completed_on = p.now,
        output = jsonb_build_object('message', 'a job of the same key is there already', 'reason', 'redrive_conflict',
                                    'destination', p.target, 'policy', p.target_policy, 'singletonKey', p.singleton_key)
    from picked p
    where j.name = p.name and j.id = p.id and p.fresh not in (select s.id from sent s)
)
select s.name as queue, count(*) as jobs from sent s group by s.name
