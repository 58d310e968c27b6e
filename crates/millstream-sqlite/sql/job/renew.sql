-- Renews a claim that holds; answers whether somebody asked to cancel. No row: the claim is lost.
-- ?1 queue name, ?2 job id, ?3 token, ?4 now, ?5 lease until.
-- Rides the unique indexes of queue and job, then the primary key.
UPDATE job_live SET lease_until = ?5
WHERE job = (SELECT b.id FROM queue AS q CROSS JOIN job AS b ON b.queue = q.id WHERE q.name = ?1 AND b.job = ?2)
  AND state = 'active' AND token = ?3 AND lease_until > ?4
RETURNING cancel_requested;
