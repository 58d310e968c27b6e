-- How long the log keeps events: set for every process, by age, by size or by number, with what each group holds back.

-- What `set_retention` wrote; while `is_set` is false, each process goes by what it was opened with.
alter table {schema}.event_upkeep
    add column is_set     boolean not null default false,
    -- Microseconds; null: whatever their age.
    add column age        bigint check (age > 0),
    -- Of the log's tables with their indexes; null: whatever their size.
    add column bytes_max  bigint check (bytes_max > 0),
    -- Null: whatever their number.
    add column events_max bigint check (events_max > 0);

-- The last position that is past its bounds: of whole partitions that were full for longer than `p_age`, or without which
-- the log still has `p_bytes` or `p_events`. The position before the log's first where there is none.
create function {schema}.event_due(p_age interval, p_bytes bigint, p_events bigint) returns bigint
language plpgsql stable as $$
declare
    h       {schema}.event_head;
    p       record;
    v_due   bigint;
    v_bytes numeric;
begin
    select * into h from {schema}.event_head;
    v_due := h.first_pos - 1;
    select coalesce(sum(pg_total_relation_size(to_regclass(format('{schema}.%I', x.name)))), 0) into v_bytes
    from {schema}.event_partition x where x.last_id >= h.first_pos;
    for p in
        select x.last_id, x.closed_at, pg_total_relation_size(to_regclass(format('{schema}.%I', x.name))) as bytes
        from {schema}.event_partition x
        where x.last_id >= h.first_pos and x.last_id <= h.pos order by x.first_id
    loop
        exit when not coalesce(p.closed_at <= {schema}.now() - p_age, false)
              and not coalesce(v_bytes > p_bytes, false)
              and not coalesce(h.pos - p.last_id >= p_events, false);
        v_due := p.last_id;
        v_bytes := v_bytes - p.bytes;
    end loop;
    return v_due;
end $$;

-- What each group needs that retention waits for: from the position behind its slowest cursor on, or from its first event
-- put aside on.
create function {schema}.event_holds() returns table (group_name text, needs bigint)
language sql stable as $$
    select g.name, least(
        (select min(c.pos) + 1 from {schema}.queue_event_cursors c where c.group_name = g.name and g.retain),
        (select min(k.pos) from {schema}.queue_event_parked k where k.group_name = g.name))
    from {schema}.queue_event_groups g
    where g.retain or exists (select from {schema}.queue_event_parked k where k.group_name = g.name)
$$;

-- Moves the log's first position behind whole partitions that are past their bounds; never past what a retaining group has
-- not done, or has put aside. Answers the partitions that are to go, with what an earlier call left, and how many of
-- their events this call moved the beginning past. Readers are told from here on that what was before is gone; the tables
-- go after.
drop function {schema}.truncate_events(interval, bigint);
create function {schema}.truncate_events(p_age interval, p_bytes bigint, p_events bigint)
returns table (name text, gone bigint)
language plpgsql volatile as $$
declare
    h       {schema}.event_head;
    v_safe  bigint;
    v_first bigint;
begin
    -- Groups that begin or are moved back take it shared: nobody begins at a position that is just going.
    perform pg_advisory_xact_lock(hashtext('{schema}.retention'), 0);
    select * into h from {schema}.event_head;
    update {schema}.event_partition x set closed_at = {schema}.now() where x.closed_at is null and x.last_id <= h.pos;
    v_safe := least({schema}.event_due(p_age, p_bytes, p_events), {schema}.event_needed() - 1);
    select coalesce(max(x.last_id) + 1, h.first_pos) into v_first from {schema}.event_partition x where x.last_id <= v_safe;
    update {schema}.event_head eh set first_pos = v_first where eh.first_pos < v_first;
    return query
        select x.name, greatest(0, x.last_id + 1 - greatest(x.first_id, h.first_pos))
        from {schema}.event_partition x where x.last_id < v_first order by x.first_id;
end $$;
