-- The log's partitions: made ahead of the sequencer, and dropped behind whoever still needs them.

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
