-- Appends to one stream, under a condition or a key.
-- $1 stream, $2 events as a JSON array, $3 expected version, $4 idempotency key. Rides event_key_pkey, event_stream_pkey.
select a.version, a.duplicate
from {schema}.append($1::text, $2::text::jsonb, $3::bigint, $4::text) as a
