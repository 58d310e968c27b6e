-- Settles a claim in the caller's transaction: `settle` of one job, with each parameter as text. Answers its state.
-- A claim that does not hold is refused as one of the native store's is (MS410), by its function: no claim there has an
-- empty token.
-- $1 to $8 as `settle`, $9 the queue, $10 the job's id as the caller knows it. Rides job_pkey, boss_job_pkey.
{settle}
select case when m.moved is not true then {schema}.settle($9::text, $10::text, '', 'done')
            when m.target not in ('created', 'retry') then m.target
            when m.wait > 0 then 'delayed' else 'waiting' end as state
from (values (1)) as one(row) left join moved m on true
