-- Removes a queue with its jobs as pg-boss does, under its lock, and what is beside them.
-- $1 queue.
with waited as materialized (
    select set_config('lock_timeout', '30s', true), pg_advisory_xact_lock(
        ('x' || left(encode(sha224(convert_to(current_database() || '.pgboss.{name}delete-queue', 'UTF8')), 'hex'), 16))::bit(64)::bigint)
), there as materialized (
    select exists (select from {boss}.queue q where q.name = $1::text) as there from waited
), jobs as (
    delete from {schema}.boss_job b using there t where b.boss = '{name}' and b.queue = $1::text
), pauses as (
    delete from {schema}.boss_queue b using there t where b.boss = '{name}' and b.queue = $1::text
), schedules as (
    delete from {schema}.boss_schedule b using there t where b.boss = '{name}' and b.queue = $1::text
)
select t.there, {boss}.delete_queue($1::text) from there t
