-- The first call of the book that is there; 0, where none is. The sequence is not asked: who works the tables may use it, and
-- need not be allowed to read it.
-- Rides boss_claim_pkey.
select coalesce((select b.id from {schema}.boss_claim b where b.boss = '{name}' order by b.id limit 1), 0) as first
