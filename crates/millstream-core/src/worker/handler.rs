//! What a handler is, and the ways it can end other than with an output.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::context::JobContext;
use crate::outcome::Outcome;

/// Runs the jobs of one name, with JSON in and out. Closures with typed input and output become one through
/// [`WorkerManager::register`](crate::WorkerManager::register).
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. `Ok` completes the job with this output; an error is what [`JobError`] says.
    async fn run(&self, input: Value, ctx: JobContext) -> Result<Value, JobError>;
}

/// How an attempt ends without an output. Any error converts into one that runs the job again after its backoff, so
/// `?` works in handlers.
///
/// ```
/// use std::time::Duration;
/// use millstream_core::JobError;
///
/// fn parse(text: &str) -> Result<u32, JobError> {
///     if text == "later" {
///         return Err(JobError::snooze(Duration::from_secs(60)));
///     }
///     Ok(text.parse::<u32>()?)
/// }
///
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct JobError {
    kind: Kind,
    message: String,
    details: Option<Value>,
}

enum Kind {
    Retry { after: Option<Duration> },
    Snooze(Duration),
    Fail,
    Cancel,
    Settled,
}

/// What a handler's error means for the event that it failed on.
pub(crate) enum Blame {
    /// One attempt more.
    Charge { after: Option<Duration>, error: String },
    /// Not yet; nothing is charged.
    Wait(Duration),
    /// No attempt would help.
    Final(String),
}

impl JobError {
    /// The attempt failed; the job runs again after its backoff unless its attempts are used up.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Retry { after: None }, message: message.to_string(), details: None }
    }

    /// The job fails for good, whatever attempts are left.
    pub fn fail(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Fail, message: message.to_string(), details: None }
    }

    /// The job runs again after this wait; no attempt is burned.
    pub fn snooze(wait: Duration) -> Self {
        Self { kind: Kind::Snooze(wait), message: format!("snoozed for {wait:?}"), details: None }
    }

    /// The job is cancelled.
    pub fn cancel(reason: impl fmt::Display) -> Self {
        Self { kind: Kind::Cancel, message: reason.to_string(), details: None }
    }

    /// The handler has settled the job itself, by [`JobContext::claim`] and in a transaction of its own that is committed.
    ///
    /// Nothing more is written, effects neither: what belongs to the job's end belongs into that transaction. If the
    /// claim turns out to hold still, nothing was settled, and the attempt has failed.
    pub fn settled() -> Self {
        let message = "the handler said that it had settled the job, and had not".to_owned();
        Self { kind: Kind::Settled, message, details: None }
    }

    /// Chooses the wait before the next attempt; of a retry only.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        if let Kind::Retry { after } = &mut self.kind {
            *after = Some(wait);
        }
        self
    }

    /// Adds data that is stored with the error.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// What it means for an event of a group.
    pub(crate) fn into_blame(self) -> Blame {
        match self.kind {
            Kind::Retry { after } => Blame::Charge { after, error: self.message },
            // An event has no job to settle.
            Kind::Settled => Blame::Charge { after: None, error: self.message },
            Kind::Snooze(wait) => Blame::Wait(wait),
            Kind::Fail | Kind::Cancel => Blame::Final(self.message),
        }
    }

    /// Whether the job may run again because of this.
    pub(crate) fn is_retry(&self) -> bool {
        matches!(self.kind, Kind::Retry { .. })
    }

    /// Whether the handler settled the job itself.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.kind, Kind::Settled)
    }

    /// What the store is told. `attempt` is noted in the error.
    pub(crate) fn into_outcome(self, attempt: u32) -> Outcome {
        let mut error = json!({ "message": self.message, "attempt": attempt });
        if let Some(details) = self.details {
            error["details"] = details;
        }
        match self.kind {
            Kind::Retry { after } => Outcome::Retry { error, after },
            // Refused by the fence, if the handler spoke the truth.
            Kind::Settled => Outcome::Retry { error, after: None },
            Kind::Snooze(wait) => Outcome::Snooze(wait),
            Kind::Fail => Outcome::Fail(error),
            Kind::Cancel => Outcome::Cancel(error),
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Retry { .. } => "retry",
            Kind::Snooze(_) => "snooze",
            Kind::Fail => "fail",
            Kind::Cancel => "cancel",
            Kind::Settled => "settled",
        };
        write!(f, "JobError({kind}: {})", self.message)
    }
}

/// With its causes, one after the other. `JobError` itself is no `Error`, or this conversion could not exist.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            let text = next.to_string();
            // Many errors already print their source.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = next.source();
        }
        Self::retry(message)
    }
}

/// A closure with typed input and output, erased.
pub(crate) struct Typed<F, I, O> {
    run: F,
    types: PhantomData<fn(I) -> O>,
}

impl<F, I, O> Typed<F, I, O> {
    pub(crate) fn new(run: F) -> Arc<Self> {
        Arc::new(Self { run, types: PhantomData })
    }
}

#[async_trait]
impl<F, Fut, I, O> Handler for Typed<F, I, O>
where
    F: Fn(I, JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, JobError>> + Send + 'static,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    async fn run(&self, input: Value, ctx: JobContext) -> Result<Value, JobError> {
        // The same data fails the same way next time: no attempt would help.
        let input = serde_json::from_value(input).map_err(|error| {
            JobError::fail(format!("job data is not what the handler of `{}` takes: {error}", ctx.name()))
        })?;
        let output = (self.run)(input, ctx).await?;
        serde_json::to_value(output).map_err(|error| JobError::fail(format!("output is not JSON: {error}")))
    }
}
