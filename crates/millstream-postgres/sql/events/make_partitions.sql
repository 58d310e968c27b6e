-- Makes partitions of the log ahead; answers how many.
select {schema}.make_event_partitions() as made
