-- Runs a command on one table of jobs, by name or by queue; on all of them where neither is given.
create function {schema}.job_table_run(command text, tbl_name text default null, queue_name text default null)
returns void language plpgsql as $body$
declare
    home text;
begin
    foreach home in array case
        when queue_name is not null then array(select q.table_name from {schema}.queue q where q.name = queue_name)
        when tbl_name is not null then array[tbl_name]
        else array['job_common'] || array(select q.table_name from {schema}.queue q where q.partition order by q.name)
    end loop
        execute {schema}.job_table_format(command, home);
    end loop;
end $body$
