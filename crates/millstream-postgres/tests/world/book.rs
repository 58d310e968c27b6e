//! What holds at every moment between the jobs that run and the book of claims.

/// Fails where a running job is not named by the book under its claim: nobody would rescue it. One statement, so that it
/// may be asked while others claim and settle.
pub(crate) fn booked(schema: &str) -> String {
    format!(
        "do $$ declare lost bigint[] := array( \
             select l.job from {schema}.job_live l where l.state = 'a' and not exists ( \
                 select from {schema}.job_book b where b.claim = l.claim and b.queue = l.queue and l.job = any (b.jobs))); \
         begin \
             assert cardinality(lost) = 0, 'running, and in no row of the book under their claim: ' || lost::text; \
         end $$"
    )
}
