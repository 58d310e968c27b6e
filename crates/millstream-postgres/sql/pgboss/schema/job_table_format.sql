-- A command that was written for `job` and its indexes `job_i1` and so on, for another table of jobs. A percent sign
-- comes doubled in such a command.
create function {schema}.job_table_format(command text, table_name text) returns text language sql immutable as $body$
    select replace(regexp_replace(
        regexp_replace($1, '\mjob_i([0-9]+)\M', $2 || '_i\1', 'g'), '\.job\M', '.' || quote_ident($2), 'g'), '%%', '%')
$body$
