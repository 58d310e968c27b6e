-- Notes the latest job of a schedule.
-- $1 queue, $2 key, $3 job. Rides schedule_pkey.
update {boss}.schedule s set last_job_id = $3::text::uuid where s.name = $1::text and s.key = $2::text
