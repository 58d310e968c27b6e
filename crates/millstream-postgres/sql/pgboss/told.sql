-- Notes until when jobs that became due were told, and answers since when they were not; nothing, where nobody wants to
-- know. The row is locked until the end of the transaction, so that each moment is told once.
-- $1 whether they are wanted in the log. Rides boss_due_pkey.
with clock as materialized (
    select {boss}.job_now() as now where $1::boolean or {schema}.watched()
), before as materialized (
    select d.upto from {schema}.boss_due d where d.boss = '{name}' and exists (select from clock) for update
), noted as (
    insert into {schema}.boss_due as d (boss, upto) select '{name}', c.now from clock c
    on conflict (boss) do update set upto = greatest(d.upto, excluded.upto)
)
select coalesce((select b.upto from before b), c.now) as since, c.now from clock c
