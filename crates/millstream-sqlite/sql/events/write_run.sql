-- Writes a row of the flow index.
-- ?1 run id, ?2 flow, ?3 status, ?4 started at, ?5 completed at. Rides the primary key.
INSERT INTO queue_flow_index (run_id, flow_name, status, started_at, completed_at)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (run_id) DO UPDATE
SET flow_name = excluded.flow_name, status = excluded.status,
    started_at = excluded.started_at, completed_at = excluded.completed_at;
