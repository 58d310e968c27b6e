-- Pauses a queue for workers of Millstream, or resumes it. Answers a row where that changed something.
-- $1 queue, $2 whether. Rides boss_queue_pkey.
insert into {schema}.boss_queue as b (boss, queue, paused) values ('{name}', $1::text, $2::boolean)
on conflict (boss, queue) do update set paused = excluded.paused where b.paused <> excluded.paused
returning {boss}.job_now() as at, {schema}.watched() as watched, b.paused
