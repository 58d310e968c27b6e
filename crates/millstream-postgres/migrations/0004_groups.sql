-- Consumer groups, and retention, which waits for them.

-- A group: which events, divided into how many partitions, and what happens to one that always fails.
create table {schema}.queue_event_groups (
    name        text collate "C" primary key,
    pattern     text collate "C" not null,         -- `*`, a stream, or a prefix and `*`
    types       text[] not null,                   -- sorted; empty: all
    partitions  integer not null check (partitions in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)),
    poison      text not null check (poison in ('stop', 'park_event', 'park_stream')),
    attempts    integer not null,
    retain      boolean not null,
    lease       interval not null,
    paused      boolean not null default false,
    created_at  timestamptz not null
);

-- Epochs come from one sequence, so none comes twice, not even in a group that was removed and made again.
create sequence {schema}.event_epoch;

-- A partition's cursor: everything up to `pos` is done. Its row is the fence: who moves it names the epoch and where it
-- stood. No index holds what changes, so that a move stays in its page.
create table {schema}.queue_event_cursors (
    group_name  text collate "C" not null,
    part        integer not null,
    pos         bigint not null,
    epoch       bigint not null default 0,
    owner       text collate "C",                  -- the member's id; null: nobody
    consumer    text collate "C",                  -- its name for people
    lease_until timestamptz not null default '-infinity',
    attempts    integer not null default 0,
    retry_at    timestamptz,
    error       text,
    primary key (group_name, part)
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);

create table {schema}.queue_event_members (
    group_name text collate "C" not null,
    id         text collate "C" not null,
    consumer   text collate "C" not null,
    seen       timestamptz not null,
    primary key (group_name, id)
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Events put aside: those that always fail, and those of their streams behind them.
create table {schema}.queue_event_parked (
    group_name   text collate "C" not null,
    pos          bigint not null,
    stream       text collate "C" not null,
    stops_stream boolean not null,
    error        text not null,
    attempts     integer not null,
    parked_at    timestamptz not null,
    primary key (group_name, pos)
);
create index queue_event_parked_stream on {schema}.queue_event_parked (group_name, stream) where stops_stream;

-- For people: who reads what, and how far each is. A group without members has a row, too.
create view {schema}.queue_event_subscriptions as
select g.pattern as stream_pattern, g.name as consumer_group, m.consumer as consumer_name,
       coalesce(min(c.pos) filter (where c.owner = m.id), min(c.pos)) as last_id, m.seen as last_seen
from {schema}.queue_event_groups g
join {schema}.queue_event_cursors c on c.group_name = g.name
left join {schema}.queue_event_members m on m.group_name = g.name
group by g.pattern, g.name, m.id, m.consumer, m.seen;

-- Registers or renews a member and what it holds. `share` is how many partitions it should have; `lost` those of the
-- named ones that are not its own any more, by their place. No row: there is no such group.
create function {schema}.beat_member(
    p_group text, p_id text, p_consumer text, p_parts integer[], p_epochs bigint[]
) returns table (share integer, members integer, paused boolean, free integer, lost bigint[])
language plpgsql volatile as $$
declare
    v_now timestamptz := {schema}.now();
    g     {schema}.queue_event_groups;
    v_at  bigint;
    v_kept bigint[];
begin
    select * into g from {schema}.queue_event_groups x where x.name = p_group;
    if not found then
        return;
    end if;
    insert into {schema}.queue_event_members as m (group_name, id, consumer, seen)
    values (p_group, p_id, p_consumer, v_now)
    on conflict (group_name, id) do update set seen = v_now, consumer = p_consumer;
    -- Those that somebody else is just at are skipped: two beats never wait for each other in a ring.
    delete from {schema}.queue_event_members m where m.group_name = p_group and m.ctid = any (array(
        select x.ctid from {schema}.queue_event_members x
        where x.group_name = p_group and x.seen < v_now - g.lease for update skip locked));
    with u as (
        update {schema}.queue_event_cursors c set lease_until = v_now + g.lease
        from unnest(p_parts, p_epochs) with ordinality as h(part, epoch, ord)
        where c.group_name = p_group and c.part = h.part and c.epoch = h.epoch and c.owner = p_id
        returning h.ord
    )
    select coalesce(array_agg(u.ord), '{}') into v_kept from u;
    select count(*) into members from {schema}.queue_event_members m
    where m.group_name = p_group and m.seen >= v_now - g.lease;
    select count(*) into v_at from {schema}.queue_event_members m
    where m.group_name = p_group and m.seen >= v_now - g.lease and m.id < p_id;
    share := g.partitions / members + (v_at < g.partitions % members)::integer;
    select count(*) into free from {schema}.queue_event_cursors c
    where c.group_name = p_group and (c.owner is null or c.lease_until < v_now);
    paused := g.paused;
    lost := array(select o from generate_series(1::bigint, cardinality(p_parts)) o where o <> all (v_kept));
    return next;
end $$;

-- The first position that a retaining group still needs, or has parked; past every position where none does.
create function {schema}.event_needed() returns bigint language sql stable as $$
    select least(
        (select min(c.pos) + 1 from {schema}.queue_event_cursors c
         join {schema}.queue_event_groups g on g.name = c.group_name where g.retain),
        (select min(k.pos) from {schema}.queue_event_parked k),
        9223372036854775807)
$$;

-- Makes partitions of the log until two are empty beyond the one that is written. A partition is for about a day by the
-- rate of the last one, or a thirtieth of the log where that is more, so that a log that is never cut has few. Answers how
-- many it made. Appends never wait for it; without it only the sequencer stops.
create function {schema}.make_event_partitions() returns integer language plpgsql volatile as $$
declare
    h       {schema}.event_head;
    v_first bigint;
    v_size  bigint;
    v_name  text;
    v_made  integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('{schema}.partitions'), 0);
    perform set_config('lock_timeout', '2s', true);
    -- A statement of its own: its snapshot is later than the lock.
    select * into h from {schema}.event_head;
    update {schema}.event_partition p set closed_at = {schema}.now() where p.closed_at is null and p.last_id <= h.pos;
    v_size := least(10000000, greatest(10000, (h.pos - h.first_pos) / 30,
                                       h.pos + 1 - {schema}.position_at({schema}.now() - interval '1 day')));
    while (select count(*) < 2 from {schema}.event_partition p where p.first_id > h.pos + 1)
       or not exists (select from {schema}.event_partition p where h.pos + 1 between p.first_id and p.last_id)
    loop
        select coalesce(max(p.last_id), h.pos) + 1 into v_first from {schema}.event_partition p;
        v_name := 'queue_events_p' || v_first;
        -- Made apart and attached, because attaching waits for no reader and no writer.
        execute format('create table {schema}.%I (like {schema}.queue_events including defaults)', v_name);
        execute format('create trigger queue_events_guard before insert on {schema}.%I for each statement '
                       'execute function {schema}.refuse_event_write()', v_name);
        execute format('alter table {schema}.queue_events attach partition {schema}.%I for values from (%s) to (%s)',
                       v_name, v_first, v_first + v_size);
        insert into {schema}.event_partition (first_id, last_id, name) values (v_first, v_first + v_size - 1, v_name);
        v_made := v_made + 1;
    end loop;
    -- When the first position of the last but one is written, one more is needed.
    update {schema}.event_head eh set make_at = p.first_id
    from (select x.first_id from {schema}.event_partition x order by x.first_id desc offset 1 limit 1) p
    where eh.make_at <> p.first_id;
    return v_made;
end $$;
select {schema}.make_event_partitions();

-- When the log was last looked through, so that many processes do it once.
create table {schema}.event_upkeep (
    one boolean primary key default true check (one),
    at  timestamptz not null default '-infinity'
);
insert into {schema}.event_upkeep default values;

-- Moves the log's first position behind whole partitions that were full for longer than `p_age`, or that are over
-- `p_bytes` together; never past what a retaining group has not done, or has parked. Answers the partitions that are to
-- go, with what an earlier call left. Readers are told from here on that what was before is gone; the tables go after.
create function {schema}.truncate_events(p_age interval, p_bytes bigint) returns setof text
language plpgsql volatile as $$
declare
    h       {schema}.event_head;
    p       record;
    v_safe  bigint;
    v_first bigint;
    v_bytes numeric;
begin
    -- Groups that begin or are moved back take it shared: nobody begins at a position that is just going.
    perform pg_advisory_xact_lock(hashtext('{schema}.retention'), 0);
    select * into h from {schema}.event_head;
    update {schema}.event_partition x set closed_at = {schema}.now() where x.closed_at is null and x.last_id <= h.pos;
    v_first := h.first_pos;
    v_safe := least(h.pos, {schema}.event_needed() - 1);
    select coalesce(sum(pg_total_relation_size(format('{schema}.%I', x.name)::regclass)), 0) into v_bytes
    from {schema}.event_partition x where x.last_id >= h.first_pos;
    for p in
        select x.last_id, x.closed_at, pg_total_relation_size(format('{schema}.%I', x.name)::regclass) as bytes
        from {schema}.event_partition x
        where x.last_id >= h.first_pos and x.last_id <= v_safe and x.closed_at is not null order by x.first_id
    loop
        exit when not coalesce(p.closed_at <= {schema}.now() - p_age, false) and not coalesce(v_bytes > p_bytes, false);
        v_first := p.last_id + 1;
        v_bytes := v_bytes - p.bytes;
    end loop;
    update {schema}.event_head eh set first_pos = v_first where eh.first_pos < v_first;
    return query select x.name from {schema}.event_partition x where x.last_id < v_first order by x.first_id;
end $$;
