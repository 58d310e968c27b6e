-- Takes jobs in, with what they leave open from their queue. What a policy, a throttle or a known id refuses is not
-- answered. Intake is to the microsecond, and later than whatever this process took in before: that is the order.
-- $1 the latest intake of this process; then the columns of the jobs, in the order of `input`.
-- Rides queue_pkey, job_pkey.
with clock as materialized (
    select {boss}.job_now() as now, {schema}.watched() as watched
), input as materialized (
    select u.* from unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::timestamptz[], $7::bigint[], $8::text[],
                           $9::bigint[], $10::bigint[], $11::text[], $12::integer[], $13::integer[], $14::integer[],
                           $15::integer[], $16::integer[], $17::boolean[], $18::integer[], $19::text[], $20::text[],
                           $21::text[], $22::integer[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[],
                           $28::boolean[])
         with ordinality as u(queue, id, data, priority, due, delay, singleton_key, every, later, slot, expire, deletion,
                              retention, retry_limit, retry_delay, retry_backoff, retry_delay_max, group_id, group_tier,
                              dead_letter, heartbeat, trace, own_key, own_name, own_options, removal, beside, ord)
), whole as materialized (
    select i.*, c.now, c.watched, q.policy, q.retention_seconds,
           greatest(c.now, $1::timestamptz) + i.ord * interval '1 microsecond' as created,
           greatest(c.now, coalesce(i.due, c.now + i.delay * interval '1 microsecond')) as ready,
           coalesce(i.expire, q.expire_seconds) as expires,
           coalesce(i.deletion, q.deletion_seconds) as deletes,
           coalesce(i.retry_limit, q.retry_limit) as limits,
           coalesce(i.retry_delay, q.retry_delay) as delays,
           coalesce(i.retry_backoff, q.retry_backoff) as backs,
           case when i.retry_backoff is null then q.retry_delay_max else i.retry_delay_max end as delays_max,
           coalesce(i.heartbeat, q.heartbeat_seconds) as beats,
           coalesce(i.dead_letter, q.dead_letter) as buries
    from clock c cross join input i cross join lateral (
        select x.* from {boss}.queue x where x.name = i.queue offset 0
    ) q
), fresh as (
    insert into {job} (id, name, priority, data, retry_limit, retry_delay, retry_backoff, retry_delay_max, expire_seconds,
                       deletion_seconds, singleton_key, singleton_on, group_id, group_tier, start_after, created_on,
                       keep_until, dead_letter, policy,
                       trace_context, -- from 44
                       heartbeat_seconds)
    select w.id::uuid, w.queue, coalesce(w.priority, 0), w.data::jsonb, w.limits, w.delays, w.backs, w.delays_max, w.expires,
           w.deletes, w.singleton_key,
           case when w.slot is not null then w.slot::timestamp
                when w.every > 0 then to_timestamp(floor((extract(epoch from w.now) + coalesce(w.later, 0)) / w.every) * w.every)
                                      at time zone 'UTC' end,
           w.group_id, w.group_tier, w.ready, w.created, w.ready + coalesce(w.retention, w.retention_seconds) * interval '1 second',
           w.buries, w.policy,
           w.trace::jsonb, -- from 44
           w.beats
    from whole w order by w.ord
    on conflict do nothing
    returning name, id, created_on, start_after
), stored as materialized (
    select w.*, f.created_on, f.start_after from fresh f join whole w on w.queue = f.name and w.id::uuid = f.id and w.created = f.created_on
), noted as (
    insert into {schema}.boss_job as b (boss, queue, job, key, name, options, trace, removal)
    select '{name}', s.queue, s.id::uuid, s.own_key, s.own_name, s.own_options::json,
           null, -- from 44
           s.trace::json, -- before 44
           s.removal::json
    from stored s where s.beside
    on conflict (boss, queue, job) do update
    set key = excluded.key, name = excluded.name, options = excluded.options, trace = excluded.trace, removal = excluded.removal,
        cancel = false, progress = null, done = null, done_at = null, keep = null, expires_at = null
)
select s.ord, s.created_on, s.start_after, s.start_after > s.now as delayed, s.now, s.watched from stored s order by s.ord
