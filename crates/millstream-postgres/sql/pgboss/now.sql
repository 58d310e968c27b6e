-- The time by pg-boss's clock, in seconds.
select floor(extract(epoch from {boss}.job_now()))::bigint as seconds
