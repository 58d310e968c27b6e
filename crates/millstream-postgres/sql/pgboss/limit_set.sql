-- Limits the groups of a queue, for workers of Millstream.
-- $1 queue, $2 running jobs of one group. Rides boss_limit_pkey.
insert into {schema}.boss_limit (boss, queue, at_most) values ('{name}', $1::text, $2::integer)
on conflict (boss, queue) do update set at_most = excluded.at_most
