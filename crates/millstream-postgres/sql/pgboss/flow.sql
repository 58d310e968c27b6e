-- Lets go jobs whose last awaited one is completed. Answers the queues where some became ready.
-- $1 at most so many awaited ones. Rides job_i9, job_dep_parent_idx, job_pkey.
with clock as materialized (
    select {boss}.job_now() as now
), parents as materialized (
    select x.* from {boss}.queue q cross join lateral (
        select j.name, j.id from {boss}.job j
        where j.name = q.name and j.blocking and j.state = 'completed'
        order by j.id limit $1::bigint for update skip locked
    ) x
), edges as materialized (
    select d.child_name, d.child_id, count(*) as parents from parents p cross join lateral (
        select e.child_name, e.child_id from {boss}.job_dependency e
        where e.parent_name = p.name and e.parent_id = p.id offset 0
    ) d group by d.child_name, d.child_id
), freed as (
    update {boss}.job j
    set pending_dependencies = greatest(j.pending_dependencies - e.parents, 0)::integer,
        blocked = j.blocked and j.pending_dependencies > e.parents,
        start_after = case when j.blocked and j.pending_dependencies <= e.parents then greatest(j.start_after, c.now)
                           else j.start_after end
    from edges e cross join clock c
    where j.name = e.child_name and j.id = e.child_id
    returning j.name, j.blocked
), resolved as (
    update {boss}.job j set blocking = false from parents p where j.name = p.name and j.id = p.id
)
select (select count(*) from parents) as parents,
       coalesce((select array_agg(distinct f.name) from freed f where not f.blocked), '{}') as queues
