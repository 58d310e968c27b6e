//! What a handler is given beside its input.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::settler::ProgressBoard;
use crate::{
    claim::{ClaimRef, Claimed, Progress},
    effects::{Append, Effects, StateOp},
    job::NewJob,
    name::{JobId, JobName, QueueName},
    store::StateStore,
};

/// Why a job's cancellation token fired. The first reason stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The claim is no longer ours: the lease ran out, or the job was taken away. A settle would be refused.
    ClaimLost,
    /// Somebody cancelled the job.
    Cancelled,
    /// The attempt took longer than the job's timeout.
    TimedOut,
    /// The worker stops. What fails after this burns no attempt: the job goes back to its queue.
    Stopping,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClaimLost => "the claim was lost",
            Self::Cancelled => "the job was cancelled",
            Self::TimedOut => "the attempt timed out",
            Self::Stopping => "the worker is stopping",
        })
    }
}

/// A token and the reason it fired for. Written by heart, executor and manager; read by the handler.
#[derive(Clone, Default)]
pub(crate) struct Cancellation {
    token: CancellationToken,
    reason: Arc<OnceLock<CancelReason>>,
}

impl Cancellation {
    pub(crate) fn fire(&self, reason: CancelReason) {
        // The reason first: whoever sees the token fired finds one.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.reason.get().copied()
    }

    pub(crate) async fn fired(&self) {
        self.token.cancelled().await;
    }
}

/// What a handler is given beside its input. Cheap to clone.
#[derive(Clone)]
pub struct JobContext {
    shared: Arc<Shared>,
}

struct Shared {
    job: Claimed,
    cancellation: Cancellation,
    progress: Arc<ProgressBoard>,
    state: Arc<dyn StateStore>,
    /// Written by the handler, taken by the executor when the attempt ends.
    effects: Mutex<Effects>,
}

impl JobContext {
    pub(crate) fn new(
        job: Claimed,
        cancellation: Cancellation,
        progress: Arc<ProgressBoard>,
        state: Arc<dyn StateStore>,
    ) -> Self {
        let effects = Mutex::default();
        Self { shared: Arc::new(Shared { job, cancellation, progress, state, effects }) }
    }

    /// The job's id.
    pub fn job_id(&self) -> &JobId {
        &self.shared.job.claim.job
    }

    /// The claim that this attempt works under: for settling the job in a transaction of the handler's own, with its own
    /// writes. Right after that transaction the handler returns [`JobError::settled`](crate::JobError::settled).
    pub fn claim(&self) -> &ClaimRef {
        &self.shared.job.claim
    }

    /// Its queue.
    pub fn queue(&self) -> &QueueName {
        &self.shared.job.claim.queue
    }

    /// Its job name.
    pub fn name(&self) -> &JobName {
        &self.shared.job.name
    }

    /// Which attempt this is, 1-based.
    pub fn attempt(&self) -> u32 {
        self.shared.job.attempt
    }

    /// How many attempts the job has in all.
    pub fn attempts(&self) -> u32 {
        self.shared.job.attempts
    }

    /// The trace context of whoever enqueued it.
    pub fn trace(&self) -> Option<&Value> {
        self.shared.job.trace.as_ref()
    }

    /// Writes log lines that name the job.
    pub fn log(&self) -> JobLog<'_> {
        JobLog { job: &self.shared.job }
    }

    /// Reports progress: any JSON, of which a number from 0 to 100 is shown as a percentage. Never waits; of several
    /// reports between two commits the last one is stored.
    pub fn progress(&self, value: impl Into<Value>) {
        self.shared.progress.post(Progress { claim: self.shared.job.claim.clone(), value: value.into() });
    }

    /// Run state, read and written at once. What should commit with the outcome goes through
    /// [`set_state`](Self::set_state).
    pub fn state(&self) -> &Arc<dyn StateStore> {
        &self.shared.state
    }

    /// Fires when the handler should end: see [`CancelReason`].
    pub fn cancellation(&self) -> &CancellationToken {
        &self.shared.cancellation.token
    }

    /// Why the token fired; `None` while it did not.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.shared.cancellation.reason()
    }

    /// Appends events when the job is done.
    ///
    /// This and the effects below are written in the commit that settles the job, and only if it is done, failed for
    /// good or cancelled *by its handler*: an attempt that will run again leaves nothing behind.
    pub fn append(&self, append: Append) {
        self.effects(|effects| effects.append.push(append));
    }

    /// Enqueues a job when this one is done.
    pub fn enqueue(&self, job: NewJob) {
        self.effects(|effects| effects.enqueue.push(job));
    }

    /// Writes a value of run state when the job is done.
    pub fn set_state(&self, key: impl Into<Arc<str>>, value: Value, ttl: Option<Duration>) {
        self.effects(|effects| effects.state.push(StateOp::Set { key: key.into(), value, ttl }));
    }

    /// Deletes a value of run state when the job is done.
    pub fn delete_state(&self, key: impl Into<Arc<str>>) {
        self.effects(|effects| effects.state.push(StateOp::Delete { key: key.into() }));
    }

    /// Adds any effects.
    pub fn add_effects(&self, more: Effects) {
        self.effects(|effects| effects.extend(more));
    }

    fn effects(&self, change: impl FnOnce(&mut Effects)) {
        // A handler that panicked while it held the lock fails anyway, and its effects are dropped.
        change(&mut self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn take_effects(&self) -> Effects {
        std::mem::take(&mut *self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobContext({}, attempt {})", self.shared.job.claim, self.attempt())
    }
}

/// Log lines of one attempt, with its queue, id, name and attempt as fields.
pub struct JobLog<'a> {
    job: &'a Claimed,
}

macro_rules! level {
    ($(#[$doc:meta])* $level:ident) => {
        $(#[$doc])*
        pub fn $level(&self, message: impl fmt::Display) {
            tracing::$level!(
                target: "millstream::job",
                queue = %self.job.claim.queue,
                job = %self.job.claim.job,
                name = %self.job.name,
                attempt = self.job.attempt,
                "{message}"
            );
        }
    };
}

impl JobLog<'_> {
    level! {
        /// For a developer.
        debug
    }
    level! {
        /// For an operator who looks.
        info
    }
    level! {
        /// For an operator who should look.
        warn
    }
    level! {
        /// Something is broken.
        error
    }
}
