-- Calls whose jobs' rows are locked, not written, while their handlers run: what of them is left a lease later, was
-- started by a worker that vanished before it wrote that.
alter table {schema}.boss_claim add column deferred boolean not null default false;
