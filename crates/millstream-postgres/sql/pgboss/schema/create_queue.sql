-- Makes a queue, and its own table where `partition` is true. One that exists stays as it is.
create function {schema}.create_queue(queue_name text, options jsonb) returns void language plpgsql as $body$
declare
    is_alone constant boolean := coalesce((options ->> 'partition')::boolean, false);
    home constant text :=
        case when is_alone then 'j' || encode(sha224(convert_to(queue_name, 'UTF8')), 'hex') else 'job_common' end;
    rules constant text := options ->> 'policy';
    wanted record;
begin
    insert into {schema}.queue (
        name, table_name, partition, policy, dead_letter, retry_limit, retry_delay, retry_backoff, retry_delay_max,
        expire_seconds, retention_seconds, deletion_seconds, heartbeat_seconds, warning_queued, notify,
        created_on, updated_on
    )
    select queue_name, home, is_alone, o.policy, o."deadLetter", coalesce(o."retryLimit", 2), coalesce(o."retryDelay", 0),
           coalesce(o."retryBackoff", false), o."retryDelayMax", coalesce(o."expireInSeconds", 900),
           coalesce(o."retentionSeconds", 1209600), coalesce(o."deleteAfterSeconds", 604800), o."heartbeatSeconds",
           coalesce(o."warningQueueSize", 0), coalesce(o.notify, false), {schema}.job_now(), {schema}.job_now()
    from jsonb_to_record(coalesce(options, '{}')) as o (
        policy text, "deadLetter" text, "retryLimit" integer, "retryDelay" integer, "retryBackoff" boolean,
        "retryDelayMax" integer, "expireInSeconds" integer, "retentionSeconds" integer, "deleteAfterSeconds" integer,
        "heartbeatSeconds" integer, "warningQueueSize" integer, notify boolean
    )
    on conflict do nothing;
    if not found or not is_alone then
        return;
    end if;
{job_table}
    -- Says what the partition's bound says, so that attaching has nothing to read.
    execute format('alter table {schema}.%I add constraint cjc check (name = %L)', home, queue_name);
    execute format('alter table {schema}.job attach partition {schema}.%I for values in (%L)', home, queue_name);
end $body$
