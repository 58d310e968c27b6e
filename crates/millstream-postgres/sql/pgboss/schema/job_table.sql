-- Makes the partition `home` of the jobs, all but attaching it; `rules` is the policy of its only queue, null where
-- it holds many. The keys are checked at commit, so that jobs and queues may come and go in any order.
    execute format('create table {schema}.%I (like {schema}.job including defaults)', home);
    execute format('alter table {schema}.%I add primary key (name, id)', home);
    execute format('alter table {schema}.%I add constraint q_fkey foreign key (name) references {schema}.queue (name) '
        'on delete restrict deferrable initially deferred', home);
    execute format('alter table {schema}.%I add constraint dlq_fkey foreign key (dead_letter) '
        'references {schema}.queue (name) on delete restrict deferrable initially deferred', home);
    if rules is null or rules = 'key_strict_fifo' then
        execute format('alter table {schema}.%I add constraint job_key_strict_fifo_singleton_key_check '
            'check (not (policy = ''key_strict_fifo'' and singleton_key is null))', home);
    end if;
    for wanted in
        select * from ({indexes}) as all_of_them (number, of_policy, kind, rest)
        where of_policy is null or rules is null or of_policy = rules
    loop
        execute format('create %s %I on {schema}.%I %s', wanted.kind, home || '_i' || wanted.number, home, wanted.rest);
    end loop;
