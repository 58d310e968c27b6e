-- Whether anything is committed and not numbered yet.
-- Rides queue_event_inbox_pkey.
select exists (select from {schema}.queue_event_inbox) as pending
