-- Folds the tallies of each queue into one row, unless somebody else is at it. Answers how many rows it took.
-- Reads the whole table, which is what it keeps small.
with gate as materialized (
    select pg_try_advisory_xact_lock(hashtext('{schema}.tally'), 0) as mine
), taken as (
    delete from {schema}.queue_tally t where (select mine from gate) returning t.*
), folded as (
    insert into {schema}.queue_tally (queue, waiting, delayed, active, completed, failed, cancelled)
    select queue, sum(waiting), sum(delayed), sum(active), sum(completed), sum(failed), sum(cancelled)
    from taken group by queue
)
select count(*) as rows from taken
