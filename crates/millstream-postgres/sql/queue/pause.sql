-- Pauses or resumes a queue; answers its number if that changed anything, and whether anybody watches.
-- $1 number, $2 paused. Rides queue_pkey.
update {schema}.queue q set paused = $2::boolean where q.id = $1::integer and q.paused <> $2::boolean
returning {schema}.now() as at, {schema}.watched() as watched
