-- What this file's folder makes. From here on only pg-boss's own migrations raise it.
insert into {schema}.version (version) values (46)
