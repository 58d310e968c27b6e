-- Delayed jobs that are due become waiting, in the order of their times.
-- $1 at most so many. Rides job_due.
with clock as materialized (
    select {schema}.now() as now, {schema}.watched() as watched
), due as materialized (
    select l.ctid as tid, l.run_at, l.seq from {schema}.job_live l
    where l.delayed and l.run_at <= (select now from clock)
    order by l.run_at, l.seq limit $1::bigint for update skip locked
), numbered as materialized (
    select d.tid, nextval('{schema}.job_seq') as seq from (select * from due order by run_at, seq offset 0) d
), ready as (
    update {schema}.job_live l set state = 'w', seq = n.seq
    from numbered n
    where l.ctid = any (array(select tid from numbered)) and l.ctid = n.tid
    returning l.queue, l.job, l.attempt, n.seq
), tallied as (
    insert into {schema}.queue_tally (queue, waiting, delayed)
    select r.queue, count(*), -count(*) from ready r group by r.queue
)
select r.queue, r.job, r.attempt, c.now, c.watched, b.name, b.id,
       (select q.name from {schema}.queue q where q.id = r.queue) as queue_name
from ready r cross join clock c left join lateral (
    select j.name, {schema}.job_id(j.key, j.id, j.created_at) as id
    from {schema}.job j where j.queue = r.queue and j.id = r.job offset 0) b on true
order by r.seq
