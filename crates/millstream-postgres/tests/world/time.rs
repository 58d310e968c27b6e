//! The store's time as a test sets it.

use millstream_core::Timestamp;

/// What makes the time stand at `now`: the one function that tells it is replaced, once, by one that reads a row.
///
/// Not by one that tells a literal. The server writes a literal into its plans, and a statement whose plan is older than
/// what it sees would work by an older time: a claim that takes a job which the new time made due, under a lease that was
/// over before it began.
pub(crate) fn set_time(schema: &str, now: Timestamp) -> String {
    format!(
        "create table if not exists {schema}.trial_time (one boolean primary key default true, at timestamptz not null); \
         insert into {schema}.trial_time (at) values ('{now}') on conflict (one) do update set at = excluded.at; \
         do $$ begin \
             if (select prosrc !~ 'trial_time' from pg_proc where oid = '{schema}.now()'::regprocedure) then \
                 create or replace function {schema}.now() returns timestamptz language sql volatile parallel safe \
                 as 'select at from {schema}.trial_time'; \
             end if; \
         end $$"
    )
}

#[allow(dead_code, reason = "not every test target moves the time of a schema that it has set before")]
/// What makes the time stand elsewhere, where [`set_time`] was called before.
pub(crate) fn move_time(schema: &str, now: Timestamp) -> String {
    format!("update {schema}.trial_time set at = '{now}'")
}
