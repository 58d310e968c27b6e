//! Calls for the caller's own transaction, with whatever driver: a text and its parameters.

use millstream_core::{Append, ClaimRef, Error, NewJob, Outcome, Result, payload};

use crate::{queue::enqueue::Entry, rows, store::PostgresStore};

/// A statement for somebody else's transaction. Every parameter is text or NULL, and the statement casts it: so any
/// driver can bind them, from tokio-postgres and sqlx to psql.
///
/// What it writes is seen by others with the caller's commit, and not at all without it. Workers of a job find it within
/// their poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlCall {
    /// The statement, with `$1`, `$2` and so on.
    pub text: String,
    /// Its parameters.
    pub params: Vec<Option<String>>,
}

impl PostgresStore {
    /// Stores a job in the caller's transaction. Answers one row: `id`, and `created`, which is false for a duplicate.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what no store accepts.
    pub fn enqueue_call(&self, job: &NewJob) -> Result<SqlCall> {
        let entry = Entry::of(self.shared(), job)?;
        let text = "select e.id, e.created from {schema}.enqueue($1::text, $2::text, $3::text::json, $4::text, \
                    $5::text::json, $6::text::timestamptz, $7::text::json) as e";
        Ok(self.call(text, entry.params()?))
    }

    /// Appends events in the caller's transaction. Answers one row: `version` and `duplicate`. A version conflict is
    /// SQLSTATE `MS409`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what no store accepts.
    pub fn append_call(&self, append: &Append) -> Result<SqlCall> {
        append.check()?;
        for event in &append.events {
            payload::text("event data", &event.data)?;
        }
        let events = serde_json::to_string(&append.events)
            .map_err(|error| Error::invalid("append", error.to_string(), "events that serialize to JSON"))?;
        let text = "select a.version, a.duplicate from {schema}.append($1::text, $2::text::jsonb, $3::text::bigint, \
                    $4::text) as a";
        let params = vec![
            Some(append.stream.to_string()),
            Some(events),
            append.expected.map(|expected| expected.to_string()),
            append.key.as_deref().map(str::to_owned),
        ];
        Ok(self.call(text, params))
    }

    /// Settles a claim in the caller's transaction. Answers one row: `state`. A claim that does not hold is SQLSTATE
    /// `MS410`, and ends the transaction. Its handler returns without settling again.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what no store accepts.
    pub fn settle_call(&self, claim: &ClaimRef, outcome: &Outcome) -> Result<SqlCall> {
        let millis = |wait: std::time::Duration| Some(wait.as_millis().to_string());
        let (word, payload, wait) = match outcome {
            Outcome::Done(output) => ("done", Some(payload::text("output", output)?), None),
            Outcome::Retry { error, after } => {
                after.map_or(Ok(()), |after| rows::check_wait("retry wait", after))?;
                ("retry", Some(rows::error_text(error)), after.and_then(millis))
            }
            Outcome::Snooze(wait) => {
                rows::check_wait("snooze", *wait)?;
                ("snooze", None, millis(*wait))
            }
            Outcome::Fail(error) => ("fail", Some(rows::error_text(error)), None),
            Outcome::Cancel(reason) => ("cancel", Some(rows::error_text(reason)), None),
        };
        let text = "select {schema}.settle($1::text, $2::text, $3::text, $4::text, $5::text::json, $6::text::bigint) \
                    as state";
        let params = vec![
            Some(claim.queue.to_string()),
            Some(claim.job.to_string()),
            Some(claim.token.to_string()),
            Some(word.to_owned()),
            payload,
            wait,
        ];
        Ok(self.call(text, params))
    }

    fn call(&self, text: &str, params: Vec<Option<String>>) -> SqlCall {
        SqlCall { text: self.shared().schema.fill(text), params }
    }
}
