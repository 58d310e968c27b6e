-- Where the log ends and begins, and which log it is.
select h.pos, h.first_pos, h.log_id::text as log from {schema}.event_head h
