-- The table of every queue that did not ask for its own.
do $do$
declare
    home constant text := 'job_common';
    rules constant text := null;
    wanted record;
begin
{job_table}
    alter table {schema}.job attach partition {schema}.job_common default;
end $do$
