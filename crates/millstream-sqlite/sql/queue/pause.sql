-- Pauses or resumes; changes no row if it was so already.
-- ?1 queue, ?2 1 to pause, 0 to resume. Rides the primary key.
UPDATE queue SET paused = ?2 WHERE id = ?1 AND paused <> ?2;
