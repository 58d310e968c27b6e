-- What runs in the server: the sequencer, appends, and the calls for other people's own transactions.

-- The id of a job that came without one: a time-ordered UUID (version 7) of when it came and its number.
create function {schema}.job_id(p_key text, p_job bigint, p_created timestamptz) returns text
language sql immutable parallel safe as $$
    select coalesce(p_key, (
        substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-7' || lpad(to_hex(us % 1000), 3, '0') || '-'
        || substr(j, 1, 4) || '-' || substr(j, 5, 12)
    ))
    from (select (extract(epoch from p_created) * 1000000)::bigint as us) t,
         lateral (select lpad(to_hex(us / 1000), 12, '0') as h,
                         lpad(to_hex(p_job | (1::bigint << 63)), 16, '0') as j) x
$$;

-- Locks a stream's bucket: shared by plain appends, alone for those that expect a version.
create function {schema}.lock_stream(p_stream text, p_alone boolean) returns void language plpgsql volatile as $$
begin
    if p_alone then
        perform pg_advisory_xact_lock(hashtext('{schema}.stream'), hashtext(p_stream) & 63);
    else
        perform pg_advisory_xact_lock_shared(hashtext('{schema}.stream'), hashtext(p_stream) & 63);
    end if;
end $$;

-- Takes the locks of many streams in one order, so that two transactions never wait for each other.
create function {schema}.lock_streams(p_streams text[], p_alone boolean[]) returns void language plpgsql volatile as $$
declare x record;
begin
    for x in
        select hashtext(u.stream) & 63 as bucket, bool_or(u.alone) as alone
        from unnest(p_streams, p_alone) as u(stream, alone) group by 1 order by 1
    loop
        if x.alone then
            perform pg_advisory_xact_lock(hashtext('{schema}.stream'), x.bucket);
        else
            perform pg_advisory_xact_lock_shared(hashtext('{schema}.stream'), x.bucket);
        end if;
    end loop;
    -- Plain appends share the locks above, and meet at the versions of their streams.
    perform 1 from {schema}.event_stream s where s.stream = any (p_streams) order by s.stream for update;
end $$;

-- Appends events to one stream: all, or none. `p_events` is an array of objects with `type`, and where they have them
-- `data`, `runId`, `flowName`, `stepName`, `stepId`, `attempt`. `p_expected` is the version (number of events) that the
-- stream must have; 0: it must not exist. A second append under the same `p_key` writes nothing, and answers the first
-- one's version. Numbered by the sequencer after the commit. A version conflict is SQLSTATE MS409. In a transaction that
-- is not READ COMMITTED, what changed since its snapshot is SQLSTATE 40001, and a condition on a stream that nobody has
-- appended to under one is refused: whether it exists cannot be seen there.
create function {schema}.append(p_stream text, p_events jsonb, p_expected bigint default null, p_key text default null)
returns table (version bigint, duplicate boolean) language plpgsql volatile as $$
declare
    n   bigint := jsonb_array_length(p_events);
    had bigint;
    v   bigint;
    v_id bigint;
    fresh boolean := current_setting('transaction_isolation') = 'read committed';
begin
    if n = 0 then
        raise exception 'append needs at least one event' using errcode = '22023';
    end if;
    if p_key is not null then
        insert into {schema}.event_key as k (key, created_at) values (p_key, {schema}.now()) on conflict do nothing;
        if not found then
            return query select k.version, true from {schema}.event_key k where k.key = p_key;
            return;
        end if;
    end if;
    perform {schema}.lock_stream(p_stream, p_expected is not null);
    if p_expected is null then
        update {schema}.event_stream s set version = s.version + n where s.stream = p_stream returning s.version into v;
        if not found and not fresh then
            -- The snapshot may be older than the stream's versions; its key is not.
            begin
                insert into {schema}.event_stream values (p_stream, 0);
                raise exception using errcode = 'MS000';
            exception
                when sqlstate 'MS000' then null;
                when unique_violation then
                    raise exception 'stream "%" was numbered since this transaction began', p_stream
                        using errcode = '40001';
            end;
        end if;
    else
        select s.version into had from {schema}.event_stream s where s.stream = p_stream;
        if not found and not fresh then
            raise exception 'append to "%" expecting version % needs read committed', p_stream, p_expected
                using errcode = '25000', hint = 'the stream has no versions yet, and an older snapshot may not show its events';
        end if;
        if not found then
            select (select count(*) from {schema}.queue_events e where e.stream = p_stream)
                 + (select count(*) from {schema}.queue_event_inbox i where i.stream = p_stream) into had;
        end if;
        if had <> p_expected then
            raise exception 'stream "%" is at version %, expected %', p_stream, had, p_expected
                using errcode = 'MS409',
                      detail = json_build_object('stream', p_stream, 'expected', p_expected, 'actual', had)::text;
        end if;
        v := had + n;
        insert into {schema}.event_stream as s values (p_stream, v)
        on conflict (stream) do update set version = excluded.version;
    end if;
    v_id := nextval('{schema}.event_seq');
    insert into {schema}.queue_event_inbox
        (id, part, stream, version, type, run_id, flow_name, step_name, step_id, attempt, data, ts)
    select v_id, o, p_stream, v - n + o, e ->> 'type', e ->> 'runId', e ->> 'flowName', e ->> 'stepName', e ->> 'stepId',
           (e ->> 'attempt')::integer, coalesce(e -> 'data', 'null'), {schema}.now()
    from jsonb_array_elements(p_events) with ordinality as u(e, o) order by o;
    if p_key is not null then
        update {schema}.event_key k set version = v where k.key = p_key;
    end if;
    return query select v, false;
end $$;

-- Appends many events to many streams, none of them under a condition. Answers the versions of the events whose
-- streams are versioned, by their place in the arrays.
create function {schema}.append_plain(
    p_stream text[], p_type text[], p_run_id text[], p_flow_name text[], p_step_name text[], p_step_id text[],
    p_attempt integer[], p_data text[]
) returns table (ord bigint, version bigint) language plpgsql volatile as $$
declare
    v_now       timestamptz := {schema}.now();
    v_versioned text[];
    v_id        bigint;
begin
    perform pg_advisory_xact_lock_shared(hashtext('{schema}.stream'), b.bucket)
    from (select distinct hashtext(s) & 63 as bucket from unnest(p_stream) s order by 1) b;
    select array_agg(x.stream) into v_versioned from (
        select s.stream from (select distinct u.stream from unnest(p_stream) u(stream)) u
        cross join lateral (
            select e.stream from {schema}.event_stream e where e.stream = u.stream collate "C" offset 0
        ) s order by s.stream collate "C"
    ) x;
    if v_versioned is null then
        v_id := nextval('{schema}.event_seq');
        insert into {schema}.queue_event_inbox
            (id, part, stream, type, run_id, flow_name, step_name, step_id, attempt, data, ts)
        select v_id, u.ord, u.stream, u.type, u.run_id, u.flow_name, u.step_name, u.step_id, u.attempt,
               u.data::jsonb, v_now
        from unnest(p_stream, p_type, p_run_id, p_flow_name, p_step_name, p_step_id, p_attempt, p_data)
             with ordinality as u(stream, type, run_id, flow_name, step_name, step_id, attempt, data, ord)
        order by u.ord;
        return;
    end if;
    perform 1 from {schema}.event_stream s where s.stream = any (v_versioned) order by s.stream for update;
    v_id := nextval('{schema}.event_seq');
    return query
        with bumped as (
            update {schema}.event_stream s set version = s.version + c.n
            from (select u.stream, count(*) as n from unnest(p_stream) u(stream) group by 1) c
            where s.stream = c.stream and s.stream = any (v_versioned)
            returning s.stream, s.version - c.n as base
        ), numbered as materialized (
            select u.*, b.base + row_number() over (partition by u.stream order by u.ord) as version
            from unnest(p_stream, p_type, p_run_id, p_flow_name, p_step_name, p_step_id, p_attempt, p_data)
                 with ordinality as u(stream, type, run_id, flow_name, step_name, step_id, attempt, data, ord)
            left join bumped b on b.stream = u.stream
        ), written as (
            insert into {schema}.queue_event_inbox
                (id, part, stream, version, type, run_id, flow_name, step_name, step_id, attempt, data, ts)
            select v_id, n.ord, n.stream, n.version, n.type, n.run_id, n.flow_name, n.step_name, n.step_id, n.attempt,
                   n.data::jsonb, v_now
            from numbered n order by n.ord
        )
        select n.ord, n.version from numbered n where n.version is not null;
end $$;

-- Which of 1,024 buckets a stream is in: the last ten of the first sixteen bits of its MD5. Any language computes the
-- same.
create function {schema}.event_bucket(p_stream text) returns smallint language sql immutable strict parallel safe as
$$ select (('x' || left(md5(p_stream), 4))::bit(16)::integer & 1023)::smallint $$;

-- Moves committed events from the inbox into the log and numbers them. Safe to call from anywhere at any time, as a
-- transaction of its own. -1: another one is at it. `p_floor` is a hint: rows at or below it are not looked at.
-- `low`: partitions are to be made.
create function {schema}.sequence_events(p_limit integer, p_floor bigint, p_wait boolean, p_notify boolean)
returns table (moved bigint, last_id bigint, head bigint, low boolean) language plpgsql volatile as $$
declare
    h {schema}.event_head;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'sequence_events needs read committed' using errcode = '25000';
    end if;
    if p_wait then
        perform pg_advisory_xact_lock(hashtext('{schema}.sequencer'), 0);
    elsif not pg_try_advisory_xact_lock(hashtext('{schema}.sequencer'), 0) then
        return query select -1::bigint, null::bigint, null::bigint, false;
        return;
    end if;
    -- Readers act on a position at once: it must not be given out again after a crash.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    -- A statement of its own: its snapshot is later than the lock.
    select * into h from {schema}.event_head;
    perform set_config('millstream.sequencing', 'on', true);
    -- A range delete, not a join with a list of ids: the statistics of a table that empties all the time are always
    -- wrong, and a join can turn into a nested loop over the whole table.
    return query
        with d as (
            delete from {schema}.queue_event_inbox
            where id > p_floor
              and id <= coalesce((select i.id from {schema}.queue_event_inbox i where i.id > p_floor
                                  order by i.id, i.part offset p_limit - 1 limit 1), 9223372036854775807)
            returning *
        ), w as (
            insert into {schema}.queue_events
                (id, stream, version, ts, type, run_id, flow_name, step_name, step_id, attempt, data,
                 bucket)
            select h.pos + row_number() over (order by d.id, d.part), d.stream, d.version,
                   greatest(h.last_ts, max(d.ts) over (order by d.id, d.part)), d.type, d.run_id, d.flow_name, d.step_name,
                   d.step_id, d.attempt, d.data, {schema}.event_bucket(d.stream)
            from d
        )
        select count(*), max(d.id), h.pos + count(*), h.pos + count(*) >= h.make_at from d;
    perform set_config('millstream.sequencing', 'off', true);
    update {schema}.event_head eh
    set pos = e.id, last_ts = e.ts
    from (select q.id, q.ts from {schema}.queue_events q where q.id > h.pos order by q.id desc limit 1) e
    returning eh.pos into h.pos;
    if found and p_notify then
        perform pg_notify('{channel}', 'e' || h.pos);
    end if;
end $$;

-- Numbers everything that is committed when it is called. Answers the last position.
create function {schema}.flush_events(p_notify boolean) returns bigint language plpgsql volatile as $$
declare
    v_last bigint;
    v_next bigint;
begin
    select i.id into v_last from {schema}.queue_event_inbox i order by i.id desc, i.part desc limit 1;
    if v_last is not null then
        loop
            perform {schema}.sequence_events(2000, 0, true, p_notify);
            select i.id into v_next from {schema}.queue_event_inbox i order by i.id, i.part limit 1;
            exit when v_next is null or v_next > v_last;
        end loop;
    end if;
    return (select pos from {schema}.event_head);
end $$;

-- The first position taken in at or after a time; one above the last where there is none.
create function {schema}.position_at(p_at timestamptz) returns bigint language plpgsql stable strict as $$
declare
    lo bigint;
    hi bigint;
    mid bigint;
    at timestamptz;
begin
    select h.first_pos, h.pos + 1 into lo, hi from {schema}.event_head h;
    while lo < hi loop
        mid := (lo + hi) / 2;
        select e.ts into at from {schema}.queue_events e where e.id = mid;
        if at is null or at >= p_at then hi := mid; else lo := mid + 1; end if;
    end loop;
    return lo;
end $$;

create function {schema}.refuse_event_write() returns trigger language plpgsql as $$
begin
    if coalesce(current_setting('millstream.sequencing', true), '') <> 'on' then
        raise exception 'queue_events is written by the sequencer alone'
            using hint = 'append with {schema}.append(stream, events)';
    end if;
    return null;
end $$;
create trigger queue_events_guard before insert on {schema}.queue_events
for each statement execute function {schema}.refuse_event_write();

-- The queue's number; it begins with this call if it does not exist.
create function {schema}.queue_id(p_queue text) returns integer language plpgsql volatile as $$
declare v integer;
begin
    select q.id into v from {schema}.queue q where q.name = p_queue;
    if v is null then
        insert into {schema}.queue (name) values (p_queue) on conflict do nothing;
        select q.id into v from {schema}.queue q where q.name = p_queue;
    end if;
    return v;
end $$;

-- Whether anybody watches queues just now.
create function {schema}.watched() returns boolean language sql stable as $$
    select exists (select from {schema}.queue_watcher where until > clock_timestamp())
$$;
