-- Appends without condition, to many streams. Answers the places and versions of events of versioned streams.
-- $1 streams, $2 types, $3 runs, $4 flows, $5 steps, $6 step ids, $7 attempts, $8 data. Rides event_stream_pkey.
select a.ord, a.version
from {schema}.append_plain($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[],
                           $8::text[]) as a
