-- A delayed job becomes waiting now.
-- $1 queue, $2 job. Rides job_live_pkey.
with ready as (
    update {schema}.job_live l set state = 'w', seq = nextval('{schema}.job_seq'), run_at = {schema}.now()
    where l.queue = $1::integer and l.job = $2::bigint and l.state = 'd'
    returning l.queue, l.attempt
), tallied as (
    insert into {schema}.queue_tally (queue, waiting, delayed) select r.queue, 1, -1 from ready r
)
select r.attempt, {schema}.now() as now, {schema}.watched() as watched,
       (select j.name from {schema}.job j where j.queue = $1::integer and j.id = $2::bigint) as name
from ready r
