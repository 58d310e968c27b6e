-- Takes the turn to remove a queue's old jobs, for everybody, where nobody took it for so long.
-- $1 seconds, $2 at most so many, $3 one queue, or null: all, $4 those after this name, byte by byte.
with due as materialized (
    select q.name from {boss}.queue q
    where coalesce(q.maintain_on, {boss}.job_now() - interval '1 week') <= {boss}.job_now() - $1::bigint * interval '1 second'
      and ($3::text is null or q.name = $3::text) and q.name collate "C" > $4::text
    order by q.name collate "C" limit $2::bigint for no key update skip locked
)
update {boss}.queue q set maintain_on = {boss}.job_now() from due d where q.name = d.name
returning q.name, q.table_name
