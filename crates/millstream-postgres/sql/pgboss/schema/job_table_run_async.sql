-- As job_table_run, but notes the commands for whoever migrates, instead of running them.
create function {schema}.job_table_run_async(
    command_name text, version integer, command text, tbl_name text default null, queue_name text default null
) returns void language plpgsql as $body$
begin
    insert into {schema}.bam (name, version, queue, table_name, command)
    select $1, $2, homes.queue, homes.home, {schema}.job_table_format($3, homes.home)
    from (
        select 0 as place, null as queue, 'job_common' as home where $4 is null and $5 is null
        union all
        select 0, null, $4 where $4 is not null and $5 is null
        union all
        select 1, q.name, q.table_name from {schema}.queue q
        where case when $5 is null then $4 is null and q.partition else q.name = $5 end
    ) homes
    order by homes.place, homes.queue;
end $body$
