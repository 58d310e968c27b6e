-- Moves a schedule to its next tick, in the transaction that enqueues the jobs of the ticks before it.
-- ?1 schedule, ?2 next tick or NULL, ?3 last tick that fired or NULL for none. Rides the primary key.
UPDATE schedule SET next_at = ?2, last_at = coalesce(?3, last_at) WHERE id = ?1;
