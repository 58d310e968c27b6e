-- What gives a schema from one trial to the next: made once in a database, in a schema of its own.
--
-- `lay` is called when a trial's schemas were just brought up. It notes what they consist of and what they hold, and writes
-- the function that brings them back to that. That one names every table itself, so that a session that called it once has
-- its plans; it is called before each trial.
create schema ground;

-- What every table and sequence held when it was new: how many rows, and a digest of them.
create type ground.content as (name text, holds text);
create table ground.born (ground text, name text, holds text, primary key (ground, name));

-- A digest of what the schemas consist of: objects by number, so that one that was dropped and made again is another;
-- their columns, checks, indexes and triggers; the texts of their functions. Every look is by an index from the schemas
-- on: the catalogues have tens of thousands of rows.
create function ground.shape(p_schemas text[]) returns text language plpgsql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
begin
    return (with part as materialized (
        select d.classid, d.objid from unnest(p_schemas) s (name)
        join pg_namespace n on n.nspname = s.name
        join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid
    ), line as (
        select format('%s %s', classid, objid) as text from part
        union all
        select format('%s %s %s %s %s %s %s %s', c.oid, c.relname, c.relpersistence, c.relnatts, c.relchecks, c.relispartition,
                      c.reloptions, (select string_agg(i.indexrelid::text || i.indisvalid, ' ' order by i.indexrelid)
                                     from pg_index i where i.indrelid = c.oid))
        from part join pg_class c on c.oid = part.objid where part.classid = 'pg_class'::regclass
        union all
        select format('%s %s %s', t.tgrelid, t.oid, t.tgenabled)
        from part join pg_trigger t on t.tgrelid = part.objid where part.classid = 'pg_class'::regclass
        union all
        select format('%s %s', p.oid, md5(p.prosrc))
        from part join pg_proc p on p.oid = part.objid where part.classid = 'pg_proc'::regclass
    )
    select md5(string_agg(text, e'\n' order by text)) from line);
end $$;

-- Writes `ground.clear_<name>()` for these schemas as they stand, without the table `trial_time`: every trial begins with
-- setting that. It answers null when they are as new, else why they are not:
-- - `busy`: a session of an earlier trial is still there, and might write;
-- - `reshaped`: an earlier trial made or dropped something;
-- - what a table or sequence holds that it did not hold when it was new: a mistake in here.
create function ground.lay(p_name text, p_schemas text[]) returns void language plpgsql as $lay$
declare
    r       record;
    v_clear text := '';
    v_holds text := '';
    v_rows  boolean;
    v_full  text;
    v_kept  text;
    v_columns text;
    v_start record;
begin
    for r in
        select c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) as name,
               c.reltoastrelid, n.nspname || '.' || c.relname as plain
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = any (p_schemas) and c.relkind in ('r', 'S') and c.relname <> 'trial_time'
        -- Sequences last, and tables that others name first.
        order by c.relkind desc, n.nspname, c.relname
    loop
        if r.relkind = 'S' then
            execute format('select last_value, is_called from %s', r.name) into v_start;
            v_clear := v_clear || format(
                e'if (select (last_value, is_called) <> (%s, %L::boolean) from %s) then perform setval(%L, %s, %L); end if;\n',
                v_start.last_value, v_start.is_called, r.name, r.name, v_start.last_value, v_start.is_called);
            v_holds := v_holds || format(
                e'union all select %L, (select last_value || \' \' || is_called from %s)\n', r.plain, r.name);
            continue;
        end if;
        execute format('select exists (select from %s)', r.name) into v_rows;
        v_holds := v_holds || format(
            e'union all select %L, (select count(*) || \' \' || coalesce(md5(string_agg(t::text, e\'\\n\' order by t::text)), \'\') '
            'from %s t)\n', r.plain, r.name);
        -- Few rows are deleted, because new files cost more. Many are cut off, so that no trial walks over another's dead.
        v_full := format('pg_relation_size(%s) + pg_relation_size(%s) > 65536', r.oid, r.reltoastrelid);
        if not v_rows then
            v_clear := v_clear || format(
                e'if %s then truncate %s cascade; elsif exists (select from %s) then delete from %s; end if;\n',
                v_full, r.name, r.name, r.name);
            continue;
        end if;
        v_kept := format('ground.%I', r.plain);
        execute format('create table %s as table %s', v_kept, r.name);
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into v_columns from pg_attribute a
        where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
        -- Behind the others, because who cuts those off may take these along.
        v_clear := v_clear || format(
            e'if exists ((select t::text from %1$s t except all select k::text from %2$s k) '
            'union all (select k::text from %2$s k except all select t::text from %1$s t)) then\n'
            '    if %3$s then truncate %1$s cascade; else delete from %1$s; end if;\n'
            '    insert into %1$s (%4$s) overriding system value select %4$s from %2$s;\nend if;\n',
            r.name, v_kept, v_full, v_columns);
    end loop;
    execute format('create function ground.%I() returns setof ground.content language plpgsql stable as $f$begin return query %s; end $f$',
                   'holds_' || p_name, substr(v_holds, length('union all ') + 1));
    execute format('insert into ground.born select %L, h.* from ground.%I() h', p_name, 'holds_' || p_name);
    execute format(
        $outer$
        create function ground.%I() returns text language plpgsql as $f$
        begin
            if exists (select from pg_stat_activity a
                       where a.datname = current_database() and a.application_name = %L) then
                return 'busy';
            end if;
            if ground.shape(%L) <> %L then
                return 'reshaped';
            end if;
            -- No trigger, and no order among tables that refer to each other.
            perform set_config('session_replication_role', 'replica', true);
            %s
            return (select string_agg(h.name || ' holds ' || h.holds, ', ')
                    from (select * from ground.%I() except select b.name, b.holds from ground.born b where b.ground = %L) h);
        end $f$
        $outer$,
        'clear_' || p_name, p_name, p_schemas, ground.shape(p_schemas), v_clear, 'holds_' || p_name, p_name);
end $lay$;
