-- When the next schedule is due; NULL if none is. Rides schedule_due.
SELECT min(next_at) FROM schedule WHERE next_at IS NOT NULL;
