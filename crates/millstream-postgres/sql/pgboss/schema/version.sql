-- One row: the version, and when whoever ran a pass over the whole schema last ran it.
create table {schema}.version (
    version integer primary key,
    cron_on timestamptz,
    bam_on timestamptz,
    flow_on timestamptz,
    reindex_on timestamptz,
    monitor_backoff_on timestamptz
)
