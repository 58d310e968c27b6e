-- Rows of the flow index.
-- $1 flows, $2 runs, $3 started, $4 completed, $5 status. Rides queue_flow_index_pkey.
insert into {schema}.queue_flow_index as r (flow_name, run_id, started_at, completed_at, status)
select u.flow, u.run, u.started, u.completed, u.status
from unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[])
     as u(flow, run, started, completed, status) order by u.run
on conflict (run_id) do update set flow_name = excluded.flow_name, started_at = excluded.started_at,
    completed_at = excluded.completed_at, status = excluded.status
