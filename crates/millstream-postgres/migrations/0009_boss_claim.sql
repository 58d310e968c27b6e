-- The ids that a call took on pg-boss's tables do not get smaller by packing, and trying costs more than all else that is
-- written of the call.
alter table {schema}.boss_claim alter column jobs set storage external;
-- A call that took from one queue only names it once.
comment on column {schema}.boss_claim.queues is 'of each job; one, if it is the same for all';
