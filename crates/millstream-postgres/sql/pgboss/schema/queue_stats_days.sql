-- The partitions of today and tomorrow, from midnight to midnight in UTC. Later ones are made by who keeps statistics.
do $do$
declare
    day date;
begin
    for day in select ({schema}.job_now() at time zone 'UTC')::date + ahead from generate_series(0, 1) as ahead loop
        execute format('create table {schema}.%I partition of {schema}.queue_stats for values from (%L) to (%L)',
            'queue_stats_' || to_char(day, 'YYYYMMDD'),
            day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
    end loop;
end $do$
