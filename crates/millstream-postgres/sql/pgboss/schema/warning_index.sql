-- The newest warnings first.
create index warning_i1 on {schema}.warning (created_on desc)
