-- What gives schemas from one trial to the next: made once in a database, in a schema of its own.
--
-- `lay` is called when a trial's schemas were just brought up. It notes what they consist of and what they hold, and writes
-- the function that brings them back to that. That one names every table itself, so that a session that called it once has
-- its plans; it is called before each trial.
create schema ground;

-- What a table or sequence holds: how many rows, and a digest of them.
create type ground.content as (name text, holds text);

-- A digest of what the schemas consist of: objects by number, so that one that was dropped and made again is another;
-- the number of their columns and checks; their indexes and triggers; the texts of functions. Every look is by an index from
-- the schemas on: the catalogues have tens of thousands of rows.
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

-- Makes the schema `p_aside`, for the schemas `p_schemas` as they stand, without their table `trial_time`: every trial begins
-- with setting that. In it is `clear()`. It answers null when the schemas are as new, else why they are not:
-- - `busy`: a session that calls itself `p_name` is still there, and might write;
-- - `reshaped`: an earlier trial made, changed or dropped something;
-- - what a table or sequence holds that it did not hold when it was new: a mistake in here.
create function ground.lay(p_name text, p_schemas text[], p_aside text) returns void language plpgsql as $lay$
declare
    r         record;
    v_is_used boolean;
    v_is_big  text;
    v_kept    text;
    v_columns text;
    v_start   record;
    v_empty   text := '';
    v_restore text := '';
    v_rewind  text := '';
    v_holds   text[];
begin
    execute format('create schema %I', p_aside);
    for r in
        select c.oid, c.relkind = 'S' as is_sequence, c.reltoastrelid as toast, n.nspname || '.' || c.relname as plain,
               format('%I.%I', n.nspname, c.relname) as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = any (p_schemas) and c.relkind in ('r', 'S') and c.relname <> 'trial_time'
        -- What others refer to comes last. Not without triggers instead: to switch them off costs the session its plans.
        order by exists (select from pg_constraint f where f.confrelid = c.oid and f.conrelid <> c.oid)
    loop
        if r.is_sequence then
            execute format('select last_value, is_called from %s', r.name) into v_start;
            v_rewind := v_rewind || format(
                e'if (select (last_value, is_called) <> (%1$s, %2$L::boolean) from %3$s) then\n'
                '    perform setval(%3$L, %1$s, %2$L);\nend if;\n',
                v_start.last_value, v_start.is_called, r.name);
            v_holds := v_holds || format($$select %L, (select last_value || ' ' || is_called from %s)$$, r.plain, r.name);
            continue;
        end if;
        v_holds := v_holds || format(
            $$select %L, (select count(*) || ' ' || coalesce(md5(string_agg(t::text, ' ' order by t::text)), '') from %s t)$$,
            r.plain, r.name);
        -- Few rows are deleted, because new files cost more. Many are cut off, so that no trial walks over another's dead.
        v_is_big := format('pg_relation_size(%s) + coalesce(pg_relation_size(%s), 0) > 65536', r.oid, r.toast);
        execute format('select exists (select from %s)', r.name) into v_is_used;
        if not v_is_used then
            v_empty := v_empty || format(
                e'if %1$s then\n    truncate %2$s cascade;\nelsif exists (select from %2$s) then\n    delete from %2$s;\nend if;\n',
                v_is_big, r.name);
            continue;
        end if;
        v_kept := format('%I.%I', p_aside, r.plain);
        execute format('create table %s as table %s', v_kept, r.name);
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into v_columns from pg_attribute a
        where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
        v_restore := v_restore || format(
            e'if exists ((select t::text from %1$s t except all select k::text from %2$s k)\n'
            '    union all (select k::text from %2$s k except all select t::text from %1$s t)) then\n'
            '    if %3$s then truncate %1$s cascade; else delete from %1$s; end if;\n'
            '    insert into %1$s (%4$s) overriding system value select %4$s from %2$s;\nend if;\n',
            r.name, v_kept, v_is_big, v_columns);
    end loop;
    execute format(
        'create function %I.holds() returns setof ground.content language plpgsql stable as '
        '$f$ begin return query %s; end $f$',
        p_aside, array_to_string(v_holds, ' union all '));
    execute format('create table %1$I.born as select * from %1$I.holds()', p_aside);
    execute format(
        $outer$
        create function %1$I.clear() returns text language plpgsql as $f$
        begin
            if exists (select from pg_stat_activity a
                       where a.datname = current_database() and a.application_name = %2$L) then
                return 'busy';
            end if;
            if ground.shape(%3$L) <> %4$L then
                return 'reshaped';
            end if;
            -- What is restored comes behind what is emptied, because that may take it along.
            %5$s
            return (select string_agg(h.name || ' holds ' || h.holds, ', ')
                    from (select * from %1$I.holds() except select * from %1$I.born) h);
        end $f$
        $outer$,
        p_aside, p_name, p_schemas, ground.shape(p_schemas), v_empty || v_restore || v_rewind);
end $lay$;
