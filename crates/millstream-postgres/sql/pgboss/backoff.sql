-- What the waits of failed attempts are chosen by.
-- $1 queues, $2 jobs. Rides job_pkey, boss_job_pkey.
select i.ord, l.retry_count, l.retry_delay, l.retry_backoff, l.retry_delay_max, h.options::text as options
from unnest($1::text[], $2::text[]) with ordinality as i(queue, job, ord)
     cross join lateral ({seek i.queue | i.job::uuid}) s
     cross join lateral (
         select j.retry_count, j.retry_delay, j.retry_backoff, j.retry_delay_max from {job} j
         where j.ctid = s.tid and j.name = i.queue and j.id = i.job::uuid offset 0
     ) l
     left join lateral (
         select b.options from {schema}.boss_job b
         where b.boss = '{name}' and b.queue = i.queue and b.job = i.job::uuid offset 0
     ) h on true
order by i.ord
