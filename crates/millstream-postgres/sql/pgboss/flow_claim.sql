-- Takes the turn to let go jobs that waited for others, for everybody, where any wait and nobody took it for so long.
-- $1 seconds.
update {boss}.version v set flow_on = {boss}.job_now()
where (v.flow_on is null or v.flow_on <= {boss}.job_now() - $1::bigint * interval '1 second')
  and exists (select from {boss}.job_dependency)
returning v.flow_on
