-- The first call of the book that is there; none is, it is one to come.
-- Rides boss_claim_pkey.
select coalesce(
    (select b.id from {schema}.boss_claim b where b.boss = '{name}' order by b.id limit 1),
    (select c.last_value from {schema}.boss_claim_id_seq c)) as first
