-- Limits on groups of jobs in pg-boss's tables. Those have no index by which the waiting jobs of one group are found, and
-- nothing of ours is added to them; so what waits in a queue with a limit is listed here, by group. It is a list of hints:
-- pg-boss's row says whether a job still waits.

-- Queues whose groups are limited, and how far their waiting jobs are listed.
create table {schema}.boss_limit (
    boss    text not null,
    queue   text not null,
    at_most integer not null check (at_most > 0),
    seen    timestamptz not null default '-infinity', -- jobs that were ready by then are listed
    look_at timestamptz not null default '-infinity', -- when those are looked for that came into the past
    primary key (boss, queue)
) with (fillfactor = 50);

-- Groups with waiting jobs, each with the place of its first one. A job without a group is in the group ''.
create table {schema}.boss_group (
    boss       text not null,
    queue      text not null,
    grp        text not null,
    priority   integer not null,
    created_on timestamptz not null,
    primary key (boss, queue, grp)
);
create index boss_group_next on {schema}.boss_group (boss, queue, priority desc, created_on);

-- Waiting jobs, in the order in which pg-boss fetches them.
create table {schema}.boss_waiting (
    boss       text not null,
    queue      text not null,
    grp        text not null,
    priority   integer not null,
    created_on timestamptz not null,
    job        uuid not null,
    primary key (boss, queue, job)
);
create index boss_waiting_next on {schema}.boss_waiting (boss, queue, grp, priority desc, created_on, job);
