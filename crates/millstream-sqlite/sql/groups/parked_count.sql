-- How many events were put aside. ?1 group. Rides the primary key.
SELECT count(*) FROM queue_event_parked WHERE grp = ?1;
