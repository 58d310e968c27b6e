-- Where a partition that is to go stands: whether its table is there, belongs to the log, is half detached, and whether
-- the server can detach it while others read.
-- $1 its name.
select c.oid is not null as there, i.inhrelid is not null as attached,
       coalesce((to_jsonb(i) ->> 'inhdetachpending')::boolean, false) as pending,
       current_setting('server_version_num')::integer >= 140000 as concurrently
from (select 1) one
left join pg_catalog.pg_class c on c.relname = $1::text
    and c.relnamespace = (select n.relnamespace from pg_catalog.pg_class n where n.oid = '{schema}.event_head'::regclass)
left join pg_catalog.pg_inherits i on i.inhrelid = c.oid
