SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA millstream;
CREATE FUNCTION millstream.append(p_stream text, p_events jsonb, p_expected bigint DEFAULT NULL::bigint, p_key text DEFAULT NULL::text) RETURNS TABLE(version bigint, duplicate boolean)
    LANGUAGE plpgsql
    AS $$
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
        insert into "millstream".event_key as k (key, created_at) values (p_key, "millstream".now()) on conflict do nothing;
        if not found then
            return query select k.version, true from "millstream".event_key k where k.key = p_key;
            return;
        end if;
    end if;
    perform "millstream".lock_stream(p_stream, p_expected is not null);
    if p_expected is null then
        update "millstream".event_stream s set version = s.version + n where s.stream = p_stream returning s.version into v;
        if not found and not fresh then
            -- The snapshot may be older than the stream's versions; its key is not.
            begin
                insert into "millstream".event_stream values (p_stream, 0);
                raise exception using errcode = 'MS000';
            exception
                when sqlstate 'MS000' then null;
                when unique_violation then
                    raise exception 'stream "%" was numbered since this transaction began', p_stream
                        using errcode = '40001';
            end;
        end if;
    else
        select s.version into had from "millstream".event_stream s where s.stream = p_stream;
        if not found and not fresh then
            raise exception 'append to "%" expecting version % needs read committed', p_stream, p_expected
                using errcode = '25000', hint = 'the stream has no versions yet, and an older snapshot may not show its events';
        end if;
        if not found then
            select (select count(*) from "millstream".queue_events e where e.stream = p_stream)
                 + (select count(*) from "millstream".queue_event_inbox i where i.stream = p_stream) into had;
        end if;
        if had <> p_expected then
            raise exception 'stream "%" is at version %, expected %', p_stream, had, p_expected
                using errcode = 'MS409',
                      detail = json_build_object('stream', p_stream, 'expected', p_expected, 'actual', had)::text;
        end if;
        v := had + n;
        insert into "millstream".event_stream as s values (p_stream, v)
        on conflict (stream) do update set version = excluded.version;
    end if;
    v_id := nextval('"millstream".event_seq');
    insert into "millstream".queue_event_inbox
        (id, part, stream, version, type, run_id, flow_name, step_name, step_id, attempt, data, ts)
    select v_id, o, p_stream, v - n + o, e ->> 'type', e ->> 'runId', e ->> 'flowName', e ->> 'stepName', e ->> 'stepId',
           (e ->> 'attempt')::integer, coalesce(e -> 'data', 'null'), "millstream".now()
    from jsonb_array_elements(p_events) with ordinality as u(e, o) order by o;
    if p_key is not null then
        update "millstream".event_key k set version = v where k.key = p_key;
    end if;
    return query select v, false;
end $$;
CREATE FUNCTION millstream.append_plain(p_stream text[], p_type text[], p_run_id text[], p_flow_name text[], p_step_name text[], p_step_id text[], p_attempt integer[], p_data text[]) RETURNS TABLE(ord bigint, version bigint)
    LANGUAGE plpgsql
    AS $$
declare
    v_now       timestamptz := "millstream".now();
    v_versioned text[];
    v_id        bigint;
begin
    perform pg_advisory_xact_lock_shared(hashtext('"millstream".stream'), b.bucket)
    from (select distinct hashtext(s) & 63 as bucket from unnest(p_stream) s order by 1) b;
    select array_agg(x.stream) into v_versioned from (
        select s.stream from (select distinct u.stream from unnest(p_stream) u(stream)) u
        cross join lateral (
            select e.stream from "millstream".event_stream e where e.stream = u.stream collate "C" offset 0
        ) s order by s.stream collate "C"
    ) x;
    if v_versioned is null then
        v_id := nextval('"millstream".event_seq');
        insert into "millstream".queue_event_inbox
            (id, part, stream, type, run_id, flow_name, step_name, step_id, attempt, data, ts)
        select v_id, u.ord, u.stream, u.type, u.run_id, u.flow_name, u.step_name, u.step_id, u.attempt,
               u.data::jsonb, v_now
        from unnest(p_stream, p_type, p_run_id, p_flow_name, p_step_name, p_step_id, p_attempt, p_data)
             with ordinality as u(stream, type, run_id, flow_name, step_name, step_id, attempt, data, ord)
        order by u.ord;
        return;
    end if;
    perform 1 from "millstream".event_stream s where s.stream = any (v_versioned) order by s.stream for update;
    v_id := nextval('"millstream".event_seq');
    return query
        with bumped as (
            update "millstream".event_stream s set version = s.version + c.n
            from (select u.stream, count(*) as n from unnest(p_stream) u(stream) group by 1) c
            where s.stream = c.stream and s.stream = any (v_versioned)
            returning s.stream, s.version - c.n as base
        ), numbered as materialized (
            select u.*, b.base + row_number() over (partition by u.stream order by u.ord) as version
            from unnest(p_stream, p_type, p_run_id, p_flow_name, p_step_name, p_step_id, p_attempt, p_data)
                 with ordinality as u(stream, type, run_id, flow_name, step_name, step_id, attempt, data, ord)
            left join bumped b on b.stream = u.stream
        ), written as (
            insert into "millstream".queue_event_inbox
                (id, part, stream, version, type, run_id, flow_name, step_name, step_id, attempt, data, ts)
            select v_id, n.ord, n.stream, n.version, n.type, n.run_id, n.flow_name, n.step_name, n.step_id, n.attempt,
                   n.data::jsonb, v_now
            from numbered n order by n.ord
        )
        select n.ord, n.version from numbered n where n.version is not null;
end $$;
CREATE FUNCTION millstream.beat_member(p_group text, p_id text, p_consumer text, p_parts integer[], p_epochs bigint[]) RETURNS TABLE(share integer, members integer, paused boolean, free integer, lost bigint[])
    LANGUAGE plpgsql
    AS $$
declare
    v_now timestamptz := "millstream".now();
    g     "millstream".queue_event_groups;
    v_at  bigint;
    v_kept bigint[];
begin
    select * into g from "millstream".queue_event_groups x where x.name = p_group;
    if not found then
        return;
    end if;
    insert into "millstream".queue_event_members as m (group_name, id, consumer, seen)
    values (p_group, p_id, p_consumer, v_now)
    on conflict (group_name, id) do update set seen = v_now, consumer = p_consumer;
    -- Those that somebody else is just at are skipped: two beats never wait for each other in a ring.
    delete from "millstream".queue_event_members m where m.group_name = p_group and m.ctid = any (array(
        select x.ctid from "millstream".queue_event_members x
        where x.group_name = p_group and x.seen < v_now - g.lease for update skip locked));
    with u as (
        update "millstream".queue_event_cursors c set lease_until = v_now + g.lease
        from unnest(p_parts, p_epochs) with ordinality as h(part, epoch, ord)
        where c.group_name = p_group and c.part = h.part and c.epoch = h.epoch and c.owner = p_id
        returning h.ord
    )
    select coalesce(array_agg(u.ord), '{}') into v_kept from u;
    select count(*) into members from "millstream".queue_event_members m
    where m.group_name = p_group and m.seen >= v_now - g.lease;
    select count(*) into v_at from "millstream".queue_event_members m
    where m.group_name = p_group and m.seen >= v_now - g.lease and m.id < p_id;
    share := g.partitions / members + (v_at < g.partitions % members)::integer;
    select count(*) into free from "millstream".queue_event_cursors c
    where c.group_name = p_group and (c.owner is null or c.lease_until < v_now);
    paused := g.paused;
    lost := array(select o from generate_series(1::bigint, cardinality(p_parts)) o where o <> all (v_kept));
    return next;
end $$;
CREATE FUNCTION millstream.boss_until(beat timestamp with time zone, seconds integer, lease bigint) RETURNS timestamp with time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    select beat + least(lease, coalesce(seconds * 1000000::bigint, lease)) * interval '1 microsecond'
$$;
CREATE FUNCTION millstream.enqueue(p_queue text, p_name text, p_data json DEFAULT 'null'::json, p_id text DEFAULT NULL::text, p_options json DEFAULT NULL::json, p_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_trace json DEFAULT NULL::json, p_notify boolean DEFAULT false) RETURNS TABLE(id text, created boolean)
    LANGUAGE plpgsql
    AS $_$
declare
    v_now      timestamptz := "millstream".now();
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
    v_queue := "millstream".queue_id(p_queue);
    v_job := nextval('"millstream".job_seq');
    if p_id is not null then
        -- An id of ours names the job that was given it.
        if p_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89a-f][0-9a-f]{3}-[0-9a-f]{12}$' and exists (
            select from "millstream".job j
            where j.queue = v_queue and j.key is null
              and j.id = ('x' || replace(right(p_id, 17), '-', ''))::bit(64)::bigint & 9223372036854775807
              and "millstream".job_id(null, j.id, j.created_at) = p_id
        ) then
            return query select p_id, false;
            return;
        end if;
        insert into "millstream".job_key (queue, key, job) values (v_queue, p_id, v_job) on conflict do nothing;
        if not found then
            return query select p_id, false;
            return;
        end if;
    end if;
    insert into "millstream".job (queue, id, key, name, data, trace, settings, created_at)
    values (v_queue, v_job, p_id, p_name, p_data, p_trace,
            case when v_settings <> v_defaults then v_settings::json end, v_now);
    insert into "millstream".job_live (queue, job, state, priority, seq, run_at, attempts, removal)
    values (v_queue, v_job, case when v_due > v_now then 'd' else 'w' end, (v_settings ->> 'priority')::integer, v_job,
            greatest(v_due, v_now), (v_settings ->> 'attempts')::integer,
            case when v_settings ->> 'removeOnComplete' <> 'false' or v_settings ->> 'removeOnFail' <> 'false' then
                json_build_object('c', v_settings -> 'removeOnComplete', 'f', v_settings -> 'removeOnFail') end);
    insert into "millstream".queue_tally (queue, waiting, delayed)
    values (v_queue, (v_due <= v_now)::integer, (v_due > v_now)::integer);
    if p_notify then
        perform pg_notify('millstream_millstream', 'sql:w' || v_queue);
    end if;
    return query select "millstream".job_id(p_id, v_job, v_now), true;
end $_$;
CREATE FUNCTION millstream.event_bucket(p_stream text) RETURNS smallint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ select (('x' || left(md5(p_stream), 4))::bit(16)::integer & 1023)::smallint $$;
CREATE FUNCTION millstream.event_due(p_age interval, p_bytes bigint, p_events bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
declare
    h       "millstream".event_head;
    p       record;
    v_due   bigint;
    v_bytes numeric;
begin
    select * into h from "millstream".event_head;
    v_due := h.first_pos - 1;
    select coalesce(sum(pg_total_relation_size(to_regclass(format('"millstream".%I', x.name)))), 0) into v_bytes
    from "millstream".event_partition x where x.last_id >= h.first_pos;
    for p in
        select x.last_id, x.closed_at, pg_total_relation_size(to_regclass(format('"millstream".%I', x.name))) as bytes
        from "millstream".event_partition x
        where x.last_id >= h.first_pos and x.last_id <= h.pos order by x.first_id
    loop
        exit when not coalesce(p.closed_at <= "millstream".now() - p_age, false)
              and not coalesce(v_bytes > p_bytes, false)
              and not coalesce(h.pos - p.last_id >= p_events, false);
        v_due := p.last_id;
        v_bytes := v_bytes - p.bytes;
    end loop;
    return v_due;
end $$;
CREATE FUNCTION millstream.event_holds() RETURNS TABLE(group_name text, needs bigint)
    LANGUAGE sql STABLE
    AS $$
    select g.name, least(
        (select min(c.pos) + 1 from "millstream".queue_event_cursors c where c.group_name = g.name and g.retain),
        (select min(k.pos) from "millstream".queue_event_parked k where k.group_name = g.name))
    from "millstream".queue_event_groups g
    where g.retain or exists (select from "millstream".queue_event_parked k where k.group_name = g.name)
$$;
CREATE FUNCTION millstream.event_needed() RETURNS bigint
    LANGUAGE sql STABLE
    AS $$
    select least(
        (select min(c.pos) + 1 from "millstream".queue_event_cursors c
         join "millstream".queue_event_groups g on g.name = c.group_name where g.retain),
        (select min(k.pos) from "millstream".queue_event_parked k),
        9223372036854775807)
$$;
CREATE FUNCTION millstream.flush_events(p_notify boolean) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
declare
    v_last bigint;
    v_next bigint;
begin
    select i.id into v_last from "millstream".queue_event_inbox i order by i.id desc, i.part desc limit 1;
    if v_last is not null then
        loop
            perform "millstream".sequence_events(2000, 0, true, p_notify);
            select i.id into v_next from "millstream".queue_event_inbox i order by i.id, i.part limit 1;
            exit when v_next is null or v_next > v_last;
        end loop;
    end if;
    return (select pos from "millstream".event_head);
end $$;
CREATE FUNCTION millstream.job_id(p_key text, p_job bigint, p_created timestamp with time zone) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    select coalesce(p_key, (
        substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-7' || lpad(to_hex(us % 1000), 3, '0') || '-'
        || substr(j, 1, 4) || '-' || substr(j, 5, 12)
    ))
    from (select (extract(epoch from p_created) * 1000000)::bigint as us) t,
         lateral (select lpad(to_hex(us / 1000), 12, '0') as h,
                         lpad(to_hex(p_job | (1::bigint << 63)), 16, '0') as j) x
$$;
CREATE FUNCTION millstream.lock_stream(p_stream text, p_alone boolean) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    if p_alone then
        perform pg_advisory_xact_lock(hashtext('"millstream".stream'), hashtext(p_stream) & 63);
    else
        perform pg_advisory_xact_lock_shared(hashtext('"millstream".stream'), hashtext(p_stream) & 63);
    end if;
end $$;
CREATE FUNCTION millstream.lock_streams(p_streams text[], p_alone boolean[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
declare x record;
begin
    for x in
        select hashtext(u.stream) & 63 as bucket, bool_or(u.alone) as alone
        from unnest(p_streams, p_alone) as u(stream, alone) group by 1 order by 1
    loop
        if x.alone then
            perform pg_advisory_xact_lock(hashtext('"millstream".stream'), x.bucket);
        else
            perform pg_advisory_xact_lock_shared(hashtext('"millstream".stream'), x.bucket);
        end if;
    end loop;
    -- Plain appends share the locks above, and meet at the versions of their streams.
    perform 1 from "millstream".event_stream s where s.stream = any (p_streams) order by s.stream for update;
end $$;
CREATE FUNCTION millstream.make_event_partitions() RETURNS integer
    LANGUAGE plpgsql
    AS $$
declare
    h       "millstream".event_head;
    v_first bigint;
    v_size  bigint;
    v_name  text;
    v_made  integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('"millstream".partitions'), 0);
    perform set_config('lock_timeout', '2s', true);
    -- A statement of its own: its snapshot is later than the lock.
    select * into h from "millstream".event_head;
    update "millstream".event_partition p set closed_at = "millstream".now() where p.closed_at is null and p.last_id <= h.pos;
    v_size := least(10000000, greatest(10000, (h.pos - h.first_pos) / 30,
                                       h.pos + 1 - "millstream".position_at("millstream".now() - interval '1 day')));
    while (select count(*) < 2 from "millstream".event_partition p where p.first_id > h.pos + 1)
       or not exists (select from "millstream".event_partition p where h.pos + 1 between p.first_id and p.last_id)
    loop
        select coalesce(max(p.last_id), h.pos) + 1 into v_first from "millstream".event_partition p;
        v_name := 'queue_events_p' || v_first;
        -- Made apart and attached, because attaching waits for no reader and no writer.
        execute format('create table "millstream".%I (like "millstream".queue_events including defaults)', v_name);
        execute format('create trigger queue_events_guard before insert on "millstream".%I for each statement '
                       'execute function "millstream".refuse_event_write()', v_name);
        execute format('alter table "millstream".queue_events attach partition "millstream".%I for values from (%s) to (%s)',
                       v_name, v_first, v_first + v_size);
        insert into "millstream".event_partition (first_id, last_id, name) values (v_first, v_first + v_size - 1, v_name);
        v_made := v_made + 1;
    end loop;
    -- When the first position of the last but one is written, one more is needed.
    update "millstream".event_head eh set make_at = p.first_id
    from (select x.first_id from "millstream".event_partition x order by x.first_id desc offset 1 limit 1) p
    where eh.make_at <> p.first_id;
    return v_made;
end $$;
CREATE FUNCTION millstream.now() RETURNS timestamp with time zone
    LANGUAGE sql PARALLEL SAFE
    AS $$ select pg_catalog.clock_timestamp() $$;
CREATE FUNCTION millstream.position_at(p_at timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT
    AS $$
declare
    lo bigint;
    hi bigint;
    mid bigint;
    at timestamptz;
begin
    select h.first_pos, h.pos + 1 into lo, hi from "millstream".event_head h;
    while lo < hi loop
        mid := (lo + hi) / 2;
        select e.ts into at from "millstream".queue_events e where e.id = mid;
        if at is null or at >= p_at then hi := mid; else lo := mid + 1; end if;
    end loop;
    return lo;
end $$;
CREATE FUNCTION millstream.queue_id(p_queue text) RETURNS integer
    LANGUAGE plpgsql
    AS $$
declare v integer;
begin
    select q.id into v from "millstream".queue q where q.name = p_queue;
    if v is null then
        insert into "millstream".queue (name) values (p_queue) on conflict do nothing;
        select q.id into v from "millstream".queue q where q.name = p_queue;
    end if;
    return v;
end $$;
CREATE FUNCTION millstream.refuse_event_write() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if coalesce(current_setting('millstream.sequencing', true), '') <> 'on' then
        raise exception 'queue_events is written by the sequencer alone'
            using hint = 'append with "millstream".append(stream, events)';
    end if;
    return null;
end $$;
CREATE FUNCTION millstream.sequence_events(p_limit integer, p_floor bigint, p_wait boolean, p_notify boolean) RETURNS TABLE(moved bigint, last_id bigint, head bigint, low boolean)
    LANGUAGE plpgsql
    AS $$
declare
    h "millstream".event_head;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'sequence_events needs read committed' using errcode = '25000';
    end if;
    if p_wait then
        perform pg_advisory_xact_lock(hashtext('"millstream".sequencer'), 0);
    elsif not pg_try_advisory_xact_lock(hashtext('"millstream".sequencer'), 0) then
        return query select -1::bigint, null::bigint, null::bigint, false;
        return;
    end if;
    -- Readers act on a position at once: it must not be given out again after a crash.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    -- A statement of its own: its snapshot is later than the lock.
    select * into h from "millstream".event_head;
    perform set_config('millstream.sequencing', 'on', true);
    -- A range delete, not a join with a list of ids: the statistics of a table that empties all the time are always
    -- wrong, and a join can turn into a nested loop over the whole table.
    return query
        with d as (
            delete from "millstream".queue_event_inbox
            where id > p_floor
              and id <= coalesce((select i.id from "millstream".queue_event_inbox i where i.id > p_floor
                                  order by i.id, i.part offset p_limit - 1 limit 1), 9223372036854775807)
            returning *
        ), w as (
            insert into "millstream".queue_events
                (id, stream, version, ts, type, run_id, flow_name, step_name, step_id, attempt, data,
                 bucket)
            select h.pos + row_number() over (order by d.id, d.part), d.stream, d.version,
                   greatest(h.last_ts, max(d.ts) over (order by d.id, d.part)), d.type, d.run_id, d.flow_name, d.step_name,
                   d.step_id, d.attempt, d.data, "millstream".event_bucket(d.stream)
            from d
        )
        select count(*), max(d.id), h.pos + count(*), h.pos + count(*) >= h.make_at from d;
    perform set_config('millstream.sequencing', 'off', true);
    update "millstream".event_head eh
    set pos = e.id, last_ts = e.ts
    from (select q.id, q.ts from "millstream".queue_events q where q.id > h.pos order by q.id desc limit 1) e
    returning eh.pos into h.pos;
    if found and p_notify then
        perform pg_notify('millstream_millstream', 'e' || h.pos);
    end if;
end $$;
CREATE FUNCTION millstream.settle(p_queue text, p_id text, p_token text, p_outcome text, p_payload json DEFAULT NULL::json, p_wait_ms bigint DEFAULT NULL::bigint) RETURNS text
    LANGUAGE plpgsql
    AS $$
declare
    v_now    timestamptz := "millstream".now();
    v_queue  integer := (select q.id from "millstream".queue q where q.name = p_queue);
    v_job    bigint := ('x' || lpad(split_part(p_token, '.', 1), 16, '0'))::bit(64)::bigint;
    v_claim  bigint := ('x' || lpad(split_part(p_token, '.', 2), 16, '0'))::bit(64)::bigint;
    v        "millstream".job_live;
    b        "millstream".job;
    v_target text;
    v_rule   json;
    v_wait   bigint;
begin
    if p_outcome is null or p_outcome not in ('done', 'retry', 'snooze', 'fail', 'cancel') then
        raise exception 'invalid outcome: "%"', p_outcome using errcode = '22023';
    end if;
    select * into v from "millstream".job_live l
    where l.queue = v_queue and l.job = v_job and l.claim = v_claim and l.lease_until > v_now for update;
    if found then
        select * into b from "millstream".job j where j.queue = v_queue and j.id = v_job;
    end if;
    if b.id is null or "millstream".job_id(b.key, b.id, b.created_at) <> p_id then
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
    insert into "millstream".queue_tally (queue, active, waiting, delayed) values
        (v_queue, -1, (v_target = 'w')::integer, (v_target = 'd')::integer);
    if v_target in ('w', 'd') then
        update "millstream".job_live l
        set state = v_target::"char", claim = null, lease_until = null,
            attempt = case p_outcome when 'snooze' then v.attempt - 1 else v.attempt end,
            seq = case v_target when 'w' then nextval('"millstream".job_seq') else l.seq end,
            run_at = v_now + v_wait * interval '1 millisecond',
            error = case p_outcome when 'retry' then coalesce(p_payload, l.error) else l.error end
        where l.queue = v_queue and l.job = v_job;
        return case v_target when 'w' then 'waiting' else 'delayed' end;
    end if;
    delete from "millstream".job_live l where l.queue = v_queue and l.job = v_job;
    v_rule := v.removal -> case v_target when 'c' then 'c' else 'f' end;
    if v_rule::text = 'true' then
        delete from "millstream".job j where j.queue = v_queue and j.id = v_job;
        delete from "millstream".job_key k where k.queue = v_queue and k.key = b.key;
        delete from "millstream".job_progress p where p.queue = v_queue and p.job = v_job;
    else
        insert into "millstream".job_done (queue, job, state, cancel, run_at, attempt, attempts, life, started_at,
                                       finished_at, output, error, keep, expires_at)
        values (v_queue, v_job, v_target::"char", v.cancel, v.run_at, v.attempt, v.attempts, v.life, v.started_at, v_now,
                case v_target when 'c' then coalesce(p_payload, 'null') end,
                case v_target when 'c' then v.error else coalesce(p_payload, v.error) end,
                (v_rule ->> 'count')::integer, v_now + (v_rule ->> 'ageMs')::bigint * interval '1 millisecond');
        insert into "millstream".queue_tally (queue, completed, failed, cancelled)
        values (v_queue, (v_target = 'c')::integer, (v_target = 'f')::integer, (v_target = 'x')::integer);
    end if;
    return case v_target when 'c' then 'completed' when 'f' then 'failed' else 'cancelled' end;
end $$;
CREATE FUNCTION millstream.truncate_events(p_age interval, p_bytes bigint, p_events bigint) RETURNS TABLE(name text, gone bigint)
    LANGUAGE plpgsql
    AS $$
declare
    h       "millstream".event_head;
    v_safe  bigint;
    v_first bigint;
begin
    -- Groups that begin or are moved back take it shared: nobody begins at a position that is just going.
    perform pg_advisory_xact_lock(hashtext('"millstream".retention'), 0);
    select * into h from "millstream".event_head;
    update "millstream".event_partition x set closed_at = "millstream".now() where x.closed_at is null and x.last_id <= h.pos;
    v_safe := least("millstream".event_due(p_age, p_bytes, p_events), "millstream".event_needed() - 1);
    select coalesce(max(x.last_id) + 1, h.first_pos) into v_first from "millstream".event_partition x where x.last_id <= v_safe;
    update "millstream".event_head eh set first_pos = v_first where eh.first_pos < v_first;
    return query
        select x.name, greatest(0, x.last_id + 1 - greatest(x.first_id, h.first_pos))
        from "millstream".event_partition x where x.last_id < v_first order by x.first_id;
end $$;
CREATE FUNCTION millstream.watched() RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    select exists (select from "millstream".queue_watcher where until > clock_timestamp())
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE millstream.boss_claim (
    id bigint NOT NULL,
    boss text NOT NULL,
    at timestamp with time zone NOT NULL,
    started timestamp with time zone NOT NULL,
    queues text[] NOT NULL,
    jobs uuid[] NOT NULL,
    deferred boolean DEFAULT false NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY millstream.boss_claim ALTER COLUMN jobs SET STORAGE EXTERNAL;
COMMENT ON COLUMN millstream.boss_claim.queues IS 'of each job; one, if it is the same for all';
ALTER TABLE millstream.boss_claim ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME millstream.boss_claim_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE millstream.boss_due (
    boss text NOT NULL,
    upto timestamp with time zone NOT NULL
);
CREATE TABLE millstream.boss_group (
    boss text NOT NULL,
    queue text NOT NULL,
    grp text NOT NULL,
    priority integer NOT NULL,
    created_on timestamp with time zone NOT NULL
);
CREATE TABLE millstream.boss_job (
    boss text NOT NULL,
    queue text NOT NULL,
    job uuid NOT NULL,
    key text,
    name text,
    options json,
    trace json,
    removal json,
    cancel boolean DEFAULT false NOT NULL,
    life integer DEFAULT 0 NOT NULL,
    progress json,
    done "char",
    done_at timestamp with time zone,
    keep integer,
    expires_at timestamp with time zone
);
CREATE TABLE millstream.boss_limit (
    boss text NOT NULL,
    queue text NOT NULL,
    at_most integer NOT NULL,
    seen timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    look_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT boss_limit_at_most_check CHECK ((at_most > 0))
)
WITH (fillfactor='50');
CREATE TABLE millstream.boss_queue (
    boss text NOT NULL,
    queue text NOT NULL,
    paused boolean DEFAULT false NOT NULL
);
CREATE TABLE millstream.boss_schedule (
    boss text NOT NULL,
    queue text NOT NULL,
    key text NOT NULL,
    body json,
    seen text NOT NULL,
    next_at timestamp with time zone,
    last_at timestamp with time zone
);
CREATE TABLE millstream.boss_waiting (
    boss text NOT NULL,
    queue text NOT NULL,
    grp text NOT NULL,
    priority integer NOT NULL,
    created_on timestamp with time zone NOT NULL,
    job uuid NOT NULL
);
CREATE SEQUENCE millstream.claim_number
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE SEQUENCE millstream.event_epoch
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE millstream.event_head (
    one boolean DEFAULT true NOT NULL,
    pos bigint DEFAULT 0 NOT NULL,
    first_pos bigint DEFAULT 1 NOT NULL,
    make_at bigint DEFAULT 0 NOT NULL,
    last_ts timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    log_id uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT event_head_one_check CHECK (one)
)
WITH (fillfactor='10');
CREATE TABLE millstream.event_key (
    key text NOT NULL COLLATE pg_catalog."C",
    version bigint,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE millstream.event_partition (
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    name text NOT NULL,
    closed_at timestamp with time zone
);
CREATE SEQUENCE millstream.event_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE millstream.event_stream (
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL
)
WITH (fillfactor='70');
CREATE TABLE millstream.event_upkeep (
    one boolean DEFAULT true NOT NULL,
    at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    is_set boolean DEFAULT false NOT NULL,
    age bigint,
    bytes_max bigint,
    events_max bigint,
    CONSTRAINT event_upkeep_age_check CHECK ((age > 0)),
    CONSTRAINT event_upkeep_bytes_max_check CHECK ((bytes_max > 0)),
    CONSTRAINT event_upkeep_events_max_check CHECK ((events_max > 0)),
    CONSTRAINT event_upkeep_one_check CHECK (one)
);
CREATE TABLE millstream.job (
    queue integer NOT NULL,
    id bigint NOT NULL,
    key text COLLATE pg_catalog."C",
    name text NOT NULL,
    data json NOT NULL,
    trace json,
    settings json,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE millstream.job_book (
    claim bigint NOT NULL,
    queue integer NOT NULL,
    until timestamp with time zone NOT NULL,
    jobs bigint[] NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY millstream.job_book ALTER COLUMN jobs SET STORAGE EXTERNAL;
CREATE TABLE millstream.job_done (
    queue integer NOT NULL,
    job bigint NOT NULL,
    state "char" NOT NULL,
    cancel boolean NOT NULL,
    run_at timestamp with time zone NOT NULL,
    attempt integer NOT NULL,
    attempts integer NOT NULL,
    life integer NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone NOT NULL,
    output json,
    error json,
    keep integer,
    expires_at timestamp with time zone,
    CONSTRAINT job_done_state_check CHECK ((state = ANY (ARRAY['c'::"char", 'f'::"char", 'x'::"char"])))
);
CREATE TABLE millstream.job_key (
    queue integer NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    job bigint NOT NULL
);
CREATE TABLE millstream.job_live (
    queue integer NOT NULL,
    job bigint NOT NULL,
    state "char" NOT NULL,
    cancel boolean DEFAULT false NOT NULL,
    priority integer NOT NULL,
    seq bigint NOT NULL,
    run_at timestamp with time zone NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    attempts integer NOT NULL,
    life integer DEFAULT 0 NOT NULL,
    claim bigint,
    lease_until timestamp with time zone,
    started_at timestamp with time zone,
    error json,
    removal json,
    delayed boolean GENERATED ALWAYS AS ((state = 'd'::"char")) STORED NOT NULL,
    CONSTRAINT job_live_attempt_check CHECK ((attempt >= 0)),
    CONSTRAINT job_live_check CHECK (((state = 'a'::"char") = (claim IS NOT NULL))),
    CONSTRAINT job_live_check1 CHECK (((state = 'a'::"char") = (lease_until IS NOT NULL))),
    CONSTRAINT job_live_state_check CHECK ((state = ANY (ARRAY['w'::"char", 'd'::"char", 'a'::"char"])))
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.1', fillfactor='42');
CREATE TABLE millstream.job_progress (
    queue integer NOT NULL,
    job bigint NOT NULL,
    value json NOT NULL
)
WITH (fillfactor='70');
CREATE SEQUENCE millstream.job_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE millstream.migration (
    version integer NOT NULL,
    name text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE millstream.queue (
    id integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    paused boolean DEFAULT false NOT NULL
);
CREATE TABLE millstream.queue_event_cursors (
    group_name text NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    pos bigint NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    owner text COLLATE pg_catalog."C",
    consumer text COLLATE pg_catalog."C",
    lease_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    retry_at timestamp with time zone,
    error text
)
WITH (fillfactor='40', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0');
CREATE TABLE millstream.queue_event_groups (
    name text NOT NULL COLLATE pg_catalog."C",
    pattern text NOT NULL COLLATE pg_catalog."C",
    types text[] NOT NULL,
    partitions integer NOT NULL,
    poison text NOT NULL,
    attempts integer NOT NULL,
    retain boolean NOT NULL,
    lease interval NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT queue_event_groups_partitions_check CHECK ((partitions = ANY (ARRAY[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]))),
    CONSTRAINT queue_event_groups_poison_check CHECK ((poison = ANY (ARRAY['stop'::text, 'park_event'::text, 'park_stream'::text])))
);
CREATE TABLE millstream.queue_event_inbox (
    id bigint NOT NULL,
    part integer NOT NULL,
    stream text NOT NULL,
    version bigint,
    type text NOT NULL,
    run_id text,
    flow_name text,
    step_name text,
    step_id text,
    attempt integer,
    data jsonb NOT NULL,
    ts timestamp with time zone NOT NULL,
    CONSTRAINT queue_event_inbox_stream_check CHECK (((octet_length(stream) >= 1) AND (octet_length(stream) <= 255))),
    CONSTRAINT queue_event_inbox_type_check CHECK (((octet_length(type) >= 1) AND (octet_length(type) <= 512)))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');
CREATE TABLE millstream.queue_event_members (
    group_name text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    consumer text NOT NULL COLLATE pg_catalog."C",
    seen timestamp with time zone NOT NULL
)
WITH (fillfactor='40', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');
CREATE TABLE millstream.queue_event_parked (
    group_name text NOT NULL COLLATE pg_catalog."C",
    pos bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    stops_stream boolean NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL,
    parked_at timestamp with time zone NOT NULL
);
CREATE VIEW millstream.queue_event_subscriptions AS
 SELECT g.pattern AS stream_pattern,
    g.name AS consumer_group,
    m.consumer AS consumer_name,
    COALESCE(min(c.pos) FILTER (WHERE (c.owner = m.id)), min(c.pos)) AS last_id,
    m.seen AS last_seen
   FROM ((millstream.queue_event_groups g
     JOIN millstream.queue_event_cursors c ON ((c.group_name = g.name)))
     LEFT JOIN millstream.queue_event_members m ON ((m.group_name = g.name)))
  GROUP BY g.pattern, g.name, m.id, m.consumer, m.seen;
CREATE TABLE millstream.queue_events (
    id bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint,
    ts timestamp with time zone NOT NULL,
    type text NOT NULL,
    run_id text,
    flow_name text,
    step_name text,
    step_id text,
    attempt integer,
    data jsonb NOT NULL,
    bucket smallint NOT NULL
)
PARTITION BY RANGE (id);
CREATE TABLE millstream.queue_events_p1 (
    id bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint,
    ts timestamp with time zone NOT NULL,
    type text NOT NULL,
    run_id text,
    flow_name text,
    step_name text,
    step_id text,
    attempt integer,
    data jsonb NOT NULL,
    bucket smallint NOT NULL
);
CREATE TABLE millstream.queue_events_p10001 (
    id bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint,
    ts timestamp with time zone NOT NULL,
    type text NOT NULL,
    run_id text,
    flow_name text,
    step_name text,
    step_id text,
    attempt integer,
    data jsonb NOT NULL,
    bucket smallint NOT NULL
);
CREATE TABLE millstream.queue_events_p20001 (
    id bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint,
    ts timestamp with time zone NOT NULL,
    type text NOT NULL,
    run_id text,
    flow_name text,
    step_name text,
    step_id text,
    attempt integer,
    data jsonb NOT NULL,
    bucket smallint NOT NULL
);
CREATE TABLE millstream.queue_feed (
    id bigint NOT NULL,
    origin text NOT NULL,
    event text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000');
ALTER TABLE millstream.queue_feed ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME millstream.queue_feed_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE millstream.queue_flow_index (
    flow_name text NOT NULL,
    run_id text NOT NULL COLLATE pg_catalog."C",
    started_at timestamp with time zone NOT NULL,
    completed_at timestamp with time zone,
    status text NOT NULL
);
ALTER TABLE millstream.queue ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME millstream.queue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE millstream.queue_tally (
    queue integer NOT NULL,
    waiting bigint DEFAULT 0 NOT NULL,
    delayed bigint DEFAULT 0 NOT NULL,
    active bigint DEFAULT 0 NOT NULL,
    completed bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    cancelled bigint DEFAULT 0 NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');
CREATE TABLE millstream.queue_watcher (
    origin text NOT NULL,
    until timestamp with time zone NOT NULL
);
CREATE TABLE millstream.schedule (
    queue integer NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    body json NOT NULL,
    next_at timestamp with time zone,
    last_at timestamp with time zone
);
CREATE TABLE millstream.state (
    key text NOT NULL COLLATE pg_catalog."C",
    value json NOT NULL,
    expires_at timestamp with time zone
);
ALTER TABLE ONLY millstream.queue_events ATTACH PARTITION millstream.queue_events_p1 FOR VALUES FROM ('1') TO ('10001');
ALTER TABLE ONLY millstream.queue_events ATTACH PARTITION millstream.queue_events_p10001 FOR VALUES FROM ('10001') TO ('20001');
ALTER TABLE ONLY millstream.queue_events ATTACH PARTITION millstream.queue_events_p20001 FOR VALUES FROM ('20001') TO ('30001');
INSERT INTO millstream.boss_limit VALUES ('pgboss', 'mail', 3, '-infinity', '-infinity');
INSERT INTO millstream.event_head VALUES (true, 3, 1, 10001, '2026-11-21 20:49:38.606518+00', 'eac1811c-555c-4b8b-8e8c-094a8d2a32c2');
INSERT INTO millstream.event_key VALUES ('k', 3, '2026-11-21 20:49:38.606323+00');
INSERT INTO millstream.event_partition VALUES (1, 10000, 'queue_events_p1', NULL);
INSERT INTO millstream.event_partition VALUES (10001, 20000, 'queue_events_p10001', NULL);
INSERT INTO millstream.event_partition VALUES (20001, 30000, 'queue_events_p20001', NULL);
INSERT INTO millstream.event_stream VALUES ('orders/1', 3);
INSERT INTO millstream.event_upkeep VALUES (true, '-infinity', true, 316224000000000, NULL, 1000);
INSERT INTO millstream.job VALUES (1, 1, 'done', 'work', '{"n":"done"}', NULL, NULL, '2026-11-21 20:49:38.585421+00');
INSERT INTO millstream.job VALUES (1, 2, 'failed', 'work', '{"n":"failed"}', NULL, NULL, '2026-11-21 20:49:38.585421+00');
INSERT INTO millstream.job VALUES (1, 3, 'active', 'work', '{"n":"active"}', NULL, NULL, '2026-11-21 20:49:38.585421+00');
INSERT INTO millstream.job VALUES (1, 4, 'waiting', 'work', '{"n":"waiting"}', NULL, NULL, '2026-11-21 20:49:38.597138+00');
INSERT INTO millstream.job VALUES (1, 5, 'delayed', 'work', '{"n":"delayed"}', NULL, NULL, '2026-11-21 20:49:38.597138+00');
INSERT INTO millstream.job_book VALUES (129519, 1, '2026-11-21 20:49:38.689885+00', '{1,2,3}');
INSERT INTO millstream.job_done VALUES (1, 1, 'c', false, '2026-11-21 20:49:38.585421+00', 1, 3, 0, '2026-11-21 20:49:38.589885+00', '2026-11-21 20:49:38.595677+00', '"fine"', NULL, NULL, NULL);
INSERT INTO millstream.job_done VALUES (1, 2, 'f', false, '2026-11-21 20:49:38.585421+00', 1, 3, 0, '2026-11-21 20:49:38.589885+00', '2026-11-21 20:49:38.595677+00', NULL, '"broken"', NULL, NULL);
INSERT INTO millstream.job_key VALUES (1, 'active', 3);
INSERT INTO millstream.job_key VALUES (1, 'done', 1);
INSERT INTO millstream.job_key VALUES (1, 'failed', 2);
INSERT INTO millstream.job_key VALUES (1, 'delayed', 5);
INSERT INTO millstream.job_key VALUES (1, 'waiting', 4);
INSERT INTO millstream.job_live VALUES (1, 3, 'a', false, 0, 3, '2026-11-21 20:49:38.585421+00', 1, 3, 0, 129519, '2026-11-21 20:49:38.689885+00', '2026-11-21 20:49:38.589885+00', NULL, NULL, DEFAULT);
INSERT INTO millstream.job_live VALUES (1, 4, 'w', false, 0, 4, '2026-11-21 20:49:38.597138+00', 0, 3, 0, NULL, NULL, NULL, NULL, NULL, DEFAULT);
INSERT INTO millstream.job_live VALUES (1, 5, 'd', false, 0, 5, '2026-11-21 20:49:39.597138+00', 0, 3, 0, NULL, NULL, NULL, NULL, NULL, DEFAULT);
INSERT INTO millstream.migration VALUES (1, '0001_begin', '2026-11-21 20:49:38.53732+00');
INSERT INTO millstream.migration VALUES (2, '0002_functions', '2026-11-21 20:49:38.547581+00');
INSERT INTO millstream.migration VALUES (3, '0003_calls', '2026-11-21 20:49:38.549982+00');
INSERT INTO millstream.migration VALUES (4, '0004_groups', '2026-11-21 20:49:38.551448+00');
INSERT INTO millstream.migration VALUES (5, '0005_pgboss', '2026-11-21 20:49:38.559323+00');
INSERT INTO millstream.migration VALUES (6, '0006_retention', '2026-11-21 20:49:38.562438+00');
INSERT INTO millstream.migration VALUES (7, '0007_boss_groups', '2026-11-21 20:49:38.563758+00');
INSERT INTO millstream.migration VALUES (8, '0008_book', '2026-11-21 20:49:38.565581+00');
INSERT INTO millstream.migration VALUES (9, '0009_boss_claim', '2026-11-21 20:49:38.568143+00');
INSERT INTO millstream.migration VALUES (10, '0010_deferred', '2026-11-21 20:49:38.568784+00');
INSERT INTO millstream.queue OVERRIDING SYSTEM VALUE VALUES (1, 'q', false);
INSERT INTO millstream.queue_events_p1 VALUES (1, 'orders/1', 1, '2026-11-21 20:49:38.604532+00', 'placed', NULL, NULL, NULL, NULL, NULL, '{"total": 9}', 631);
INSERT INTO millstream.queue_events_p1 VALUES (2, 'orders/1', 2, '2026-11-21 20:49:38.605923+00', 'placed', NULL, NULL, NULL, NULL, NULL, '{"total": 9}', 631);
INSERT INTO millstream.queue_events_p1 VALUES (3, 'orders/1', 3, '2026-11-21 20:49:38.606518+00', 'placed', NULL, NULL, NULL, NULL, NULL, '{"total": 9}', 631);
INSERT INTO millstream.queue_tally VALUES (1, 3, 0, 0, 0, 0, 0);
INSERT INTO millstream.queue_tally VALUES (1, -3, 0, 3, 0, 0, 0);
INSERT INTO millstream.queue_tally VALUES (1, 0, 0, -2, 1, 1, 0);
INSERT INTO millstream.queue_tally VALUES (1, 1, 1, 0, 0, 0, 0);
INSERT INTO millstream.schedule VALUES (1, 'nightly', '{"queue":"q","key":"nightly","cron":"0 3 * * *","timeZone":"UTC","name":"work","data":null,"options":{},"missed":"once"}', '2026-11-22 03:00:00+00', NULL);
INSERT INTO millstream.state VALUES ('run/1', '[1,2]', NULL);
SELECT pg_catalog.setval('millstream.boss_claim_id_seq', 1, false);
SELECT pg_catalog.setval('millstream.claim_number', 1, true);
SELECT pg_catalog.setval('millstream.event_epoch', 1, false);
SELECT pg_catalog.setval('millstream.event_seq', 3, true);
SELECT pg_catalog.setval('millstream.job_seq', 5, true);
SELECT pg_catalog.setval('millstream.queue_feed_id_seq', 1, false);
SELECT pg_catalog.setval('millstream.queue_id_seq', 1, true);
ALTER TABLE ONLY millstream.boss_claim
    ADD CONSTRAINT boss_claim_pkey PRIMARY KEY (id);
ALTER TABLE ONLY millstream.boss_due
    ADD CONSTRAINT boss_due_pkey PRIMARY KEY (boss);
ALTER TABLE ONLY millstream.boss_group
    ADD CONSTRAINT boss_group_pkey PRIMARY KEY (boss, queue, grp);
ALTER TABLE ONLY millstream.boss_job
    ADD CONSTRAINT boss_job_pkey PRIMARY KEY (boss, queue, job);
ALTER TABLE ONLY millstream.boss_limit
    ADD CONSTRAINT boss_limit_pkey PRIMARY KEY (boss, queue);
ALTER TABLE ONLY millstream.boss_queue
    ADD CONSTRAINT boss_queue_pkey PRIMARY KEY (boss, queue);
ALTER TABLE ONLY millstream.boss_schedule
    ADD CONSTRAINT boss_schedule_pkey PRIMARY KEY (boss, queue, key);
ALTER TABLE ONLY millstream.boss_waiting
    ADD CONSTRAINT boss_waiting_pkey PRIMARY KEY (boss, queue, job);
ALTER TABLE ONLY millstream.event_head
    ADD CONSTRAINT event_head_pkey PRIMARY KEY (one);
ALTER TABLE ONLY millstream.event_key
    ADD CONSTRAINT event_key_pkey PRIMARY KEY (key);
ALTER TABLE ONLY millstream.event_partition
    ADD CONSTRAINT event_partition_pkey PRIMARY KEY (first_id);
ALTER TABLE ONLY millstream.event_stream
    ADD CONSTRAINT event_stream_pkey PRIMARY KEY (stream);
ALTER TABLE ONLY millstream.event_upkeep
    ADD CONSTRAINT event_upkeep_pkey PRIMARY KEY (one);
ALTER TABLE ONLY millstream.job_book
    ADD CONSTRAINT job_book_pkey PRIMARY KEY (claim, queue);
ALTER TABLE ONLY millstream.job_done
    ADD CONSTRAINT job_done_pkey PRIMARY KEY (queue, state, job);
ALTER TABLE ONLY millstream.job_key
    ADD CONSTRAINT job_key_pkey PRIMARY KEY (queue, key);
ALTER TABLE ONLY millstream.job_live
    ADD CONSTRAINT job_live_pkey PRIMARY KEY (queue, job);
ALTER TABLE ONLY millstream.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (queue, id);
ALTER TABLE ONLY millstream.job_progress
    ADD CONSTRAINT job_progress_pkey PRIMARY KEY (queue, job);
ALTER TABLE ONLY millstream.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (version);
ALTER TABLE ONLY millstream.queue_event_cursors
    ADD CONSTRAINT queue_event_cursors_pkey PRIMARY KEY (group_name, part);
ALTER TABLE ONLY millstream.queue_event_groups
    ADD CONSTRAINT queue_event_groups_pkey PRIMARY KEY (name);
ALTER TABLE ONLY millstream.queue_event_inbox
    ADD CONSTRAINT queue_event_inbox_pkey PRIMARY KEY (id, part);
ALTER TABLE ONLY millstream.queue_event_members
    ADD CONSTRAINT queue_event_members_pkey PRIMARY KEY (group_name, id);
ALTER TABLE ONLY millstream.queue_event_parked
    ADD CONSTRAINT queue_event_parked_pkey PRIMARY KEY (group_name, pos);
ALTER TABLE ONLY millstream.queue_events
    ADD CONSTRAINT queue_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY millstream.queue_events_p10001
    ADD CONSTRAINT queue_events_p10001_pkey PRIMARY KEY (id);
ALTER TABLE ONLY millstream.queue_events_p1
    ADD CONSTRAINT queue_events_p1_pkey PRIMARY KEY (id);
ALTER TABLE ONLY millstream.queue_events_p20001
    ADD CONSTRAINT queue_events_p20001_pkey PRIMARY KEY (id);
ALTER TABLE ONLY millstream.queue_feed
    ADD CONSTRAINT queue_feed_pkey PRIMARY KEY (id);
ALTER TABLE ONLY millstream.queue_flow_index
    ADD CONSTRAINT queue_flow_index_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY millstream.queue
    ADD CONSTRAINT queue_name_key UNIQUE (name);
ALTER TABLE ONLY millstream.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (id);
ALTER TABLE ONLY millstream.queue_watcher
    ADD CONSTRAINT queue_watcher_pkey PRIMARY KEY (origin);
ALTER TABLE ONLY millstream.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (queue, key);
ALTER TABLE ONLY millstream.state
    ADD CONSTRAINT state_pkey PRIMARY KEY (key);
CREATE INDEX boss_group_next ON millstream.boss_group USING btree (boss, queue, priority DESC, created_on);
CREATE INDEX boss_job_expires ON millstream.boss_job USING btree (boss, expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX boss_job_keep ON millstream.boss_job USING btree (boss, queue, done, done_at, job) WHERE (keep IS NOT NULL);
CREATE INDEX boss_waiting_next ON millstream.boss_waiting USING btree (boss, queue, grp, priority DESC, created_on, job);
CREATE INDEX event_key_age ON millstream.event_key USING btree (created_at);
CREATE INDEX job_done_expires ON millstream.job_done USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX job_done_keep ON millstream.job_done USING btree (queue, state, finished_at, job) WHERE (keep IS NOT NULL);
CREATE INDEX job_due ON millstream.job_live USING btree (run_at, seq) WHERE delayed;
CREATE INDEX job_ready ON millstream.job_live USING btree (queue, priority, seq) WHERE (NOT delayed);
CREATE INDEX queue_event_parked_stream ON millstream.queue_event_parked USING btree (group_name, stream) WHERE stops_stream;
CREATE INDEX queue_events_stream ON ONLY millstream.queue_events USING btree (stream, id);
CREATE INDEX queue_events_p10001_stream_id_idx ON millstream.queue_events_p10001 USING btree (stream, id);
CREATE INDEX queue_events_ts ON ONLY millstream.queue_events USING brin (ts);
CREATE INDEX queue_events_p10001_ts_idx ON millstream.queue_events_p10001 USING brin (ts);
CREATE INDEX queue_events_type ON ONLY millstream.queue_events USING btree (type, ts);
CREATE INDEX queue_events_p10001_type_ts_idx ON millstream.queue_events_p10001 USING btree (type, ts);
CREATE INDEX queue_events_p1_stream_id_idx ON millstream.queue_events_p1 USING btree (stream, id);
CREATE INDEX queue_events_p1_ts_idx ON millstream.queue_events_p1 USING brin (ts);
CREATE INDEX queue_events_p1_type_ts_idx ON millstream.queue_events_p1 USING btree (type, ts);
CREATE INDEX queue_events_p20001_stream_id_idx ON millstream.queue_events_p20001 USING btree (stream, id);
CREATE INDEX queue_events_p20001_ts_idx ON millstream.queue_events_p20001 USING brin (ts);
CREATE INDEX queue_events_p20001_type_ts_idx ON millstream.queue_events_p20001 USING btree (type, ts);
CREATE INDEX queue_flow_index_flow ON millstream.queue_flow_index USING btree (flow_name, started_at);
CREATE INDEX schedule_due ON millstream.schedule USING btree (next_at) WHERE (next_at IS NOT NULL);
CREATE INDEX state_expires ON millstream.state USING btree (expires_at) WHERE (expires_at IS NOT NULL);
ALTER INDEX millstream.queue_events_pkey ATTACH PARTITION millstream.queue_events_p10001_pkey;
ALTER INDEX millstream.queue_events_stream ATTACH PARTITION millstream.queue_events_p10001_stream_id_idx;
ALTER INDEX millstream.queue_events_ts ATTACH PARTITION millstream.queue_events_p10001_ts_idx;
ALTER INDEX millstream.queue_events_type ATTACH PARTITION millstream.queue_events_p10001_type_ts_idx;
ALTER INDEX millstream.queue_events_pkey ATTACH PARTITION millstream.queue_events_p1_pkey;
ALTER INDEX millstream.queue_events_stream ATTACH PARTITION millstream.queue_events_p1_stream_id_idx;
ALTER INDEX millstream.queue_events_ts ATTACH PARTITION millstream.queue_events_p1_ts_idx;
ALTER INDEX millstream.queue_events_type ATTACH PARTITION millstream.queue_events_p1_type_ts_idx;
ALTER INDEX millstream.queue_events_pkey ATTACH PARTITION millstream.queue_events_p20001_pkey;
ALTER INDEX millstream.queue_events_stream ATTACH PARTITION millstream.queue_events_p20001_stream_id_idx;
ALTER INDEX millstream.queue_events_ts ATTACH PARTITION millstream.queue_events_p20001_ts_idx;
ALTER INDEX millstream.queue_events_type ATTACH PARTITION millstream.queue_events_p20001_type_ts_idx;
CREATE TRIGGER queue_events_guard BEFORE INSERT ON millstream.queue_events FOR EACH STATEMENT EXECUTE FUNCTION millstream.refuse_event_write();
CREATE TRIGGER queue_events_guard BEFORE INSERT ON millstream.queue_events_p1 FOR EACH STATEMENT EXECUTE FUNCTION millstream.refuse_event_write();
CREATE TRIGGER queue_events_guard BEFORE INSERT ON millstream.queue_events_p10001 FOR EACH STATEMENT EXECUTE FUNCTION millstream.refuse_event_write();
CREATE TRIGGER queue_events_guard BEFORE INSERT ON millstream.queue_events_p20001 FOR EACH STATEMENT EXECUTE FUNCTION millstream.refuse_event_write();
