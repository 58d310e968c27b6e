-- Calls for other people's own transactions, in whatever language: enqueue and settle where their own writes commit.

-- Stores a job. `p_options` is an object with any of `attempts`, `backoff`, `priority`, `timeoutMs`, `delayMs`,
-- `removeOnComplete`, `removeOnFail`; what it leaves open is what a job that asks for nothing has. Answers the id, and
-- whether the job is new: an id that a job of this queue has, in whatever state, stores nothing. Workers find the job by
-- themselves within their poll; `p_notify` wakes them, at the price of a lock of the whole database at the commit.
create function {schema}.enqueue(
    p_queue text, p_name text, p_data json default 'null', p_id text default null, p_options json default null,
    p_run_at timestamptz default null, p_trace json default null, p_notify boolean default false
) returns table (id text, created boolean) language plpgsql volatile as $$
declare
    v_now      timestamptz := {schema}.now();
    v_defaults jsonb := '{"attempts": 3, "backoff": {"type": "exponential", "firstMs": 1000, "capMs": 3600000,
        "jitter": 0.2}, "priority": 0, "timeoutMs": null, "removeOnComplete": false, "removeOnFail": false}';
    v_settings jsonb := v_defaults || (coalesce(p_options::jsonb, '{}') - 'delayMs');
    v_queue    integer;
    v_job      bigint;
    v_due      timestamptz := coalesce(
        p_run_at, v_now + (p_options ->> 'delayMs')::bigint * interval '1 millisecond', v_now);
begin
    if p_queue is null or p_queue !~ '^[A-Za-z0-9_./-]{1,255}$' then
        raise exception 'invalid queue name: "%"', p_queue using errcode = '22023';
    end if;
    if p_name is null or octet_length(p_name) not between 1 and 255 or p_name ~ '[[:cntrl:]]' then
        raise exception 'invalid job name: "%"', p_name using errcode = '22023';
    end if;
    if octet_length(p_id) not between 1 and 255 or p_id ~ '[[:cntrl:]]' then
        raise exception 'invalid job id: "%"', p_id using errcode = '22023';
    end if;
    if (v_settings ->> 'attempts')::integer not between 1 and 10000 then
        raise exception 'invalid attempts: %', v_settings ->> 'attempts' using errcode = '22023';
    end if;
    v_queue := {schema}.queue_id(p_queue);
    v_job := nextval('{schema}.job_seq');
    if p_id is not null then
        -- An id of ours names the job that was given it.
        if p_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89a-f][0-9a-f]{3}-[0-9a-f]{12}$' and exists (
            select from {schema}.job j
            where j.queue = v_queue and j.key is null
              and j.id = ('x' || replace(right(p_id, 17), '-', ''))::bit(64)::bigint & 9223372036854775807
              and {schema}.job_id(null, j.id, j.created_at) = p_id
        ) then
            return query select p_id, false;
            return;
        end if;
        insert into {schema}.job_key (queue, key, job) values (v_queue, p_id, v_job) on conflict do nothing;
        if not found then
            return query select p_id, false;
            return;
        end if;
    end if;
    insert into {schema}.job (queue, id, key, name, data, trace, settings, created_at)
    values (v_queue, v_job, p_id, p_name, p_data, p_trace,
            case when v_settings <> v_defaults then v_settings::json end, v_now);
    insert into {schema}.job_live (queue, job, state, priority, seq, run_at, attempts, removal)
    values (v_queue, v_job, case when v_due > v_now then 'd' else 'w' end, (v_settings ->> 'priority')::integer, v_job,
            greatest(v_due, v_now), (v_settings ->> 'attempts')::integer,
            case when v_settings ->> 'removeOnComplete' <> 'false' or v_settings ->> 'removeOnFail' <> 'false' then
                json_build_object('c', v_settings -> 'removeOnComplete', 'f', v_settings -> 'removeOnFail') end);
    insert into {schema}.queue_tally (queue, waiting, delayed)
    values (v_queue, (v_due <= v_now)::integer, (v_due > v_now)::integer);
    if p_notify then
        perform pg_notify('{channel}', 'sql:w' || v_queue);
    end if;
    return query select {schema}.job_id(p_id, v_job, v_now), true;
end $$;

-- Settles a claimed job in the caller's transaction. `p_outcome` is `done`, `retry`, `snooze`, `fail` or `cancel`;
-- `p_payload` its output or error; `p_wait_ms` how long until it is ready again (null after `retry`: its backoff).
-- Answers the job's state. A claim that does not hold is SQLSTATE MS410: nothing of the transaction may stay.
create function {schema}.settle(
    p_queue text, p_id text, p_token text, p_outcome text, p_payload json default null, p_wait_ms bigint default null
) returns text language plpgsql volatile as $$
declare
    v_now    timestamptz := {schema}.now();
    v_queue  integer := (select q.id from {schema}.queue q where q.name = p_queue);
    v_job    bigint := ('x' || lpad(split_part(p_token, '.', 1), 16, '0'))::bit(64)::bigint;
    v_claim  bigint := ('x' || lpad(split_part(p_token, '.', 2), 16, '0'))::bit(64)::bigint;
    v        {schema}.job_live;
    b        {schema}.job;
    v_target text;
    v_rule   json;
    v_wait   bigint;
begin
    if p_outcome is null or p_outcome not in ('done', 'retry', 'snooze', 'fail', 'cancel') then
        raise exception 'invalid outcome: "%"', p_outcome using errcode = '22023';
    end if;
    select * into v from {schema}.job_live l
    where l.queue = v_queue and l.job = v_job and l.claim = v_claim and l.lease_until > v_now for update;
    if found then
        select * into b from {schema}.job j where j.queue = v_queue and j.id = v_job;
    end if;
    if b.id is null or {schema}.job_id(b.key, b.id, b.created_at) <> p_id then
        raise exception 'the claim on job "%" of queue "%" does not hold', p_id, p_queue using errcode = 'MS410';
    end if;
    v_wait := coalesce(p_wait_ms, case when p_outcome <> 'retry' then 0
        when b.settings -> 'backoff' ->> 'type' = 'fixed' then (b.settings -> 'backoff' ->> 'delayMs')::bigint
        else least(coalesce((b.settings -> 'backoff' ->> 'capMs')::numeric, 3600000),
                   coalesce((b.settings -> 'backoff' ->> 'firstMs')::numeric, 1000) * 2 ^ least(v.attempt - 1, 62))::bigint
        end);
    v_target := case
        when p_outcome = 'done' then 'c'
        when p_outcome = 'cancel' or v.cancel then 'x'
        when p_outcome = 'fail' or (p_outcome = 'retry' and v.attempt >= v.attempts) then 'f'
        when v_wait > 0 then 'd'
        else 'w' end;
    insert into {schema}.queue_tally (queue, active, waiting, delayed) values
        (v_queue, -1, (v_target = 'w')::integer, (v_target = 'd')::integer);
    if v_target in ('w', 'd') then
        update {schema}.job_live l
        set state = v_target::"char", claim = null, lease_until = null,
            attempt = case p_outcome when 'snooze' then v.attempt - 1 else v.attempt end,
            seq = case v_target when 'w' then nextval('{schema}.job_seq') else l.seq end,
            run_at = v_now + v_wait * interval '1 millisecond',
            error = case p_outcome when 'retry' then coalesce(p_payload, l.error) else l.error end
        where l.queue = v_queue and l.job = v_job;
        return case v_target when 'w' then 'waiting' else 'delayed' end;
    end if;
    delete from {schema}.job_live l where l.queue = v_queue and l.job = v_job;
    v_rule := v.removal -> case v_target when 'c' then 'c' else 'f' end;
    if v_rule::text = 'true' then
        delete from {schema}.job j where j.queue = v_queue and j.id = v_job;
        delete from {schema}.job_key k where k.queue = v_queue and k.key = b.key;
        delete from {schema}.job_progress p where p.queue = v_queue and p.job = v_job;
    else
        insert into {schema}.job_done (queue, job, state, cancel, run_at, attempt, attempts, life, started_at,
                                       finished_at, output, error, keep, expires_at)
        values (v_queue, v_job, v_target::"char", v.cancel, v.run_at, v.attempt, v.attempts, v.life, v.started_at, v_now,
                case v_target when 'c' then coalesce(p_payload, 'null') end,
                case v_target when 'c' then v.error else coalesce(p_payload, v.error) end,
                (v_rule ->> 'count')::integer, v_now + (v_rule ->> 'ageMs')::bigint * interval '1 millisecond');
        insert into {schema}.queue_tally (queue, completed, failed, cancelled)
        values (v_queue, (v_target = 'c')::integer, (v_target = 'f')::integer, (v_target = 'x')::integer);
    end if;
    return case v_target when 'c' then 'completed' when 'f' then 'failed' else 'cancelled' end;
end $$;
