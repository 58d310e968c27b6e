-- Removes a queue with its jobs. One that is not there is no error.
create function {schema}.delete_queue(queue_name text) returns void language plpgsql as $body$
declare
    gone record;
begin
    select q.table_name, q.partition into gone from {schema}.queue q where q.name = queue_name;
    if not found then
        return;
    end if;
    if gone.partition then
        execute format('drop table if exists {schema}.%I', gone.table_name);
    else
        execute format('delete from {schema}.%I where name = $1', gone.table_name) using queue_name;
    end if;
    delete from {schema}.queue q where q.name = queue_name;
end $body$
