-- What each group needs that retention waits for, by name.
select w.group_name, w.needs from {schema}.event_holds() w order by w.group_name
