-- Notes until when jobs that became due were told to watchers, and answers since when they were not.
-- Rides boss_due_pkey.
with clock as materialized (
    select {boss}.job_now() as now
), before as materialized (
    select d.upto from {schema}.boss_due d where d.boss = '{name}' for update
), noted as (
    insert into {schema}.boss_due as d (boss, upto) select '{name}', c.now from clock c
    on conflict (boss) do update set upto = excluded.upto where d.upto < excluded.upto
)
select coalesce(b.upto, c.now) as since, c.now from clock c left join before b on true
