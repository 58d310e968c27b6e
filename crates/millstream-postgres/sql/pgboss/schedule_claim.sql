-- Takes the turn to look at all schedules, for everybody, unless somebody took it less than so long ago.
-- $1 seconds.
update {boss}.version v set cron_on = {boss}.job_now()
where v.cron_on is null or v.cron_on <= {boss}.job_now() - $1::bigint * interval '1 second'
returning v.cron_on
