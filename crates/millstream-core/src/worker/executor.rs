//! The whole life of one attempt: dispatch by name, timeout, panic, outcome, effects.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    context::{CancelReason, Cancellation, JobContext},
    handler::JobError,
    registry::Registry,
    settler::ProgressBoard,
};
use crate::{
    claim::{ClaimRef, Claimed},
    clock::Clock,
    effects::Effects,
    error::shorten,
    limits::ERROR_BYTES_MAX,
    outcome::{Outcome, Settlement},
    payload,
    store::{Executor, StateStore},
};

/// How one attempt ended for the store.
pub(crate) enum Ended {
    /// With an outcome.
    Settle(Settlement),
    /// Its handler settled it. What is left to settle is refused, unless that is not true.
    Settled(Settlement),
    /// It was interrupted by the worker's stop: back to its queue, no attempt burned.
    Release(ClaimRef),
}

pub(crate) struct JobExecutor {
    pub(crate) registry: Arc<RwLock<Registry>>,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Arc<ProgressBoard>,
    pub(crate) cancel_grace: Duration,
}

impl JobExecutor {
    /// Runs one attempt to its end. Never panics on the handler's account.
    pub(crate) async fn attempt(&self, mut job: Claimed, cancellation: Cancellation) -> Ended {
        let data = std::mem::take(&mut job.data);
        let (claim, attempt, timeout) = (job.claim.clone(), job.attempt, job.timeout);
        let found = self.registry.read().unwrap_or_else(PoisonError::into_inner).find(&job);
        let handler = match found {
            Ok(handler) => handler,
            Err(error) => return settle(claim, error.into_outcome(attempt), Effects::default()),
        };
        let ctx = JobContext::new(job, cancellation.clone(), self.progress.clone(), self.state.clone());
        let running = Caught::new(async { handler.run(data, ctx.clone()).await });
        let ended = self.bounded(running, &cancellation, timeout).await;
        match ended {
            Ok(output) => match payload::text("job output", &output) {
                Ok(_) => settle(claim, Outcome::Done(output), ctx.take_effects()),
                Err(error) => settle(claim, JobError::fail(error).into_outcome(attempt), Effects::default()),
            },
            Err(error) if error.is_retry() && cancellation.reason() == Some(CancelReason::Stopping) => {
                tracing::info!(job = %claim, %error, "interrupted by the worker's stop");
                Ended::Release(claim)
            }
            Err(error) if error.is_settled() => {
                if !ctx.take_effects().is_empty() {
                    tracing::error!(job = %claim, "effects of a job that its handler settled are not written");
                }
                Ended::Settled(Settlement { claim, outcome: error.into_outcome(attempt), effects: Effects::default() })
            }
            Err(error) => {
                let outcome = storable(error.into_outcome(attempt));
                let effects = if outcome.is_terminal() { ctx.take_effects() } else { Effects::default() };
                settle(claim, outcome, effects)
            }
        }
    }

    /// The handler, its timeout, and the grace of a handler whose token fired.
    async fn bounded(
        &self,
        running: impl Future<Output = Result<Value, JobError>>,
        cancellation: &Cancellation,
        timeout: Option<Duration>,
    ) -> Result<Value, JobError> {
        let timed_out = async {
            match timeout {
                Some(timeout) => self.clock.sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = running => ended,
            () = timed_out => {
                cancellation.fire(CancelReason::TimedOut);
                let timeout = timeout.unwrap_or_default();
                Err(JobError::retry(format!("timed out after {timeout:?}")))
            }
            () = self.outstayed(cancellation) => {
                let reason = cancellation.reason().unwrap_or(CancelReason::ClaimLost);
                Err(JobError::retry(format!("{reason}, and the handler went on for {:?}", self.cancel_grace)))
            }
        }
    }

    /// Ends when the handler was told that its work is void, and has had its grace. A stopping worker has a grace of
    /// its own.
    async fn outstayed(&self, cancellation: &Cancellation) {
        cancellation.fired().await;
        match cancellation.reason() {
            Some(CancelReason::ClaimLost | CancelReason::Cancelled) => self.clock.sleep(self.cancel_grace).await,
            _ => std::future::pending().await,
        }
    }
}

fn settle(claim: ClaimRef, outcome: Outcome, effects: Effects) -> Ended {
    Ended::Settle(Settlement { claim, outcome, effects })
}

/// An error that no store can hold (NUL in its text, more than the limit) keeps what can be kept.
fn storable(outcome: Outcome) -> Outcome {
    let replace = |error: Value| match payload::text("job error", &error) {
        Ok(text) if text.len() <= ERROR_BYTES_MAX => error,
        Ok(text) => reduced(&error, format!("{} bytes of JSON, of which {ERROR_BYTES_MAX} are kept", text.len())),
        Err(refused) => reduced(&error, refused.to_string()),
    };
    match outcome {
        Outcome::Retry { error, after } => Outcome::Retry { error: replace(error), after },
        Outcome::Fail(error) => Outcome::Fail(replace(error)),
        Outcome::Cancel(error) => Outcome::Cancel(replace(error)),
        other => other,
    }
}

/// The error without its details, and with as much of its message as fits.
fn reduced(error: &Value, why: String) -> Value {
    let message = error["message"].as_str().unwrap_or_default().replace('\0', "\u{fffd}");
    let mut bytes_max = ERROR_BYTES_MAX;
    loop {
        let message = shorten(message.clone(), bytes_max);
        let reduced = json!({ "message": message, "attempt": error["attempt"], "dropped": why });
        if reduced.to_string().len() <= ERROR_BYTES_MAX || bytes_max == 0 {
            return reduced;
        }
        // Escapes and the rest around it take room, too.
        bytes_max /= 2;
    }
}

/// For stores with a loop of their own.
#[async_trait]
impl Executor for JobExecutor {
    async fn run(&self, job: Claimed) -> Settlement {
        match self.attempt(job, Cancellation::default()).await {
            Ended::Settle(settlement) | Ended::Settled(settlement) => settlement,
            Ended::Release(claim) => {
                Settlement { claim, outcome: Outcome::Snooze(Duration::ZERO), effects: Effects::default() }
            }
        }
    }
}

/// A handler's future whose panic is a failed attempt.
pub(crate) struct Caught<'a, T>(Option<Running<'a, T>>);

type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, JobError>> + Send + 'a>>;

impl<'a, T> Caught<'a, T> {
    pub(crate) fn new(running: impl Future<Output = Result<T, JobError>> + Send + 'a) -> Self {
        Self(Some(Box::pin(running)))
    }
}

impl<T> Future for Caught<'_, T> {
    type Output = Result<T, JobError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.0 else { return Poll::Pending };
        // The future is not polled again after a panic: the attempt is over, and what it held is dropped.
        catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))).unwrap_or_else(|panic| {
            Poll::Ready(Err(JobError::retry(format!("handler panicked: {}", text_of(&*panic)))))
        })
    }
}

/// A handler that is dropped runs its destructors, and one of those may panic too: the attempt is over all the same.
impl<T> Drop for Caught<'_, T> {
    fn drop(&mut self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(self.0.take()))) {
            tracing::error!("a handler panicked while it was dropped: {}", text_of(&*panic));
        }
    }
}

pub(crate) fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with no message")
}
