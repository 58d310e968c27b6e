//! One batch of one partition, to its end: the handler, the commit, and what a failure means.

use std::{sync::Arc, time::Duration};

use super::{
    handler::{ContextParts, GroupContext, GroupHandler, Handled},
    options::GroupOptions,
    partition::{CursorMove, Member, ParkedNow, PartitionRef},
    spec::{GroupSpec, Poison},
};
use crate::{
    effects::Effects,
    error::{Error, Result},
    event::Event,
    name::StreamName,
    store::GroupStore,
    worker::{CancelReason, JobError, context::Cancellation, executor::Caught, handler::Blame},
};

/// Between two tries of a write that the store could not do.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// Runs batches. Shared by all of a consumer's.
pub(super) struct Runner {
    pub(super) store: Arc<dyn GroupStore>,
    pub(super) spec: GroupSpec,
    pub(super) member: Member,
    pub(super) handler: Arc<dyn GroupHandler>,
    pub(super) options: GroupOptions,
    /// Whether one commit of the log reaches the queue and the run state.
    pub(super) reaches: Reaches,
}

/// Where a commit of the log reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaches {
    pub(super) queue: bool,
    pub(super) state: bool,
}

/// Events to handle.
pub(super) struct Work {
    pub(super) held: PartitionRef,
    /// Where the cursor stands.
    pub(super) cursor: u64,
    /// Where it goes when all are done: behind the last, or further where nothing else follows.
    pub(super) to: u64,
    pub(super) events: Vec<Event>,
    pub(super) attempts: u32,
    pub(super) cancellation: Cancellation,
}

/// What became of it.
pub(super) struct Ended {
    pub(super) held: PartitionRef,
    /// Where the cursor stands now.
    pub(super) cursor: u64,
    /// Events that are not done, in order.
    pub(super) rest: Vec<Event>,
    pub(super) then: Then,
}

/// What follows for the partition.
pub(super) enum Then {
    /// On to the next.
    Go,
    /// The rest one by one: one of them fails.
    OneByOne,
    /// The first of the rest again, from this moment on, by the process's monotonic clock.
    Wait { attempts: u32, until: Duration },
    /// Nothing more until somebody resumes the group.
    Halt,
    /// The first of the rest was put aside, and this stream with it, if there is one.
    Parked(Option<StreamName>),
    /// The partition is somebody else's, or was given up.
    Lost,
    /// The consumer cannot go on.
    End(Error),
}

/// Why a write did not happen.
enum Unwritten {
    Lost,
    End(Error),
    Refused(Error),
}

impl Runner {
    /// Hands the events to the handler, and writes what it answers.
    pub(super) async fn run(&self, work: Work) -> Ended {
        let handled = self.call(&work).await;
        let Work { held, cursor, to, mut events, cancellation, attempts } = work;
        let blamed = Blamed { held, attempts, cancellation };
        match handled {
            Handled::Done(effects) => match self.commit(&blamed, cursor, to, &effects).await {
                Ok(()) => Ended { held, cursor: to, rest: Vec::new(), then: Then::Go },
                Err(Unwritten::Refused(error)) => self.failed(blamed, cursor, events, JobError::retry(error)).await,
                Err(unwritten) => unwritten.ended(held, cursor),
            },
            Handled::Failed(error) => self.failed(blamed, cursor, events, error).await,
            Handled::FailedAt { done: 0, error, .. } => self.charge(blamed, cursor, events, error).await,
            Handled::FailedAt { done, effects, error } => {
                let rest = events.split_off(done.min(events.len()));
                let reached = events.last().map_or(cursor, |last| last.id);
                match self.commit(&blamed, cursor, reached, &effects).await {
                    Ok(()) if rest.is_empty() => Ended { held, cursor: reached, rest, then: Then::Go },
                    Ok(()) => self.charge(Blamed { attempts: 0, ..blamed }, reached, rest, error).await,
                    Err(Unwritten::Refused(error)) => {
                        events.extend(rest);
                        self.failed(blamed, cursor, events, JobError::retry(error)).await
                    }
                    Err(unwritten) => unwritten.ended(held, cursor),
                }
            }
        }
    }

    /// Puts events aside whose stream is parked.
    pub(super) async fn park_behind(&self, work: Work) -> Ended {
        let Work { held, cursor, to, events, cancellation, attempts } = work;
        let aside = |event: Event| ParkedNow {
            position: event.id,
            stream: event.stream,
            stops_stream: true,
            error: "an earlier event of its stream is parked".into(),
            attempts: 0,
        };
        let events: Vec<_> = events.into_iter().map(aside).collect();
        let blamed = Blamed { held, attempts, cancellation };
        match self.park(&blamed, CursorMove { held, from: cursor, to }, &events).await {
            Ok(()) => Ended { held, cursor: to, rest: Vec::new(), then: Then::Go },
            Err(unwritten) => unwritten.ended(held, cursor),
        }
    }

    /// The handler, its timeout, and the grace of a handler whose token fired.
    async fn call(&self, work: &Work) -> Handled {
        let cancellation = &work.cancellation;
        let parts = ContextParts {
            group: self.spec.name.clone(),
            consumer: self.member.consumer.clone(),
            partition: work.held.partition,
            epoch: work.held.epoch,
            attempts: work.attempts,
            cancellation: cancellation.clone(),
        };
        let ctx = GroupContext { shared: Arc::new(parts) };
        let running = Caught::new(async { Ok(self.handler.handle(&work.events, ctx).await) });
        let timeout = self.options.timeout;
        tokio::select! {
            biased;
            ended = running => ended.unwrap_or_else(Handled::Failed),
            () = self.options.clock.sleep(timeout) => {
                cancellation.fire(CancelReason::TimedOut);
                Handled::Failed(JobError::retry(format!("timed out after {timeout:?}")))
            }
            () = self.outstayed(cancellation) => Handled::Failed(JobError::retry("interrupted")),
        }
    }

    /// Ends when the handler was told to end, and has had its grace.
    async fn outstayed(&self, cancellation: &Cancellation) {
        cancellation.fired().await;
        self.options.clock.sleep(self.options.cancel_grace).await;
    }

    /// A failure of one event, or of one among several.
    async fn failed(&self, blamed: Blamed, cursor: u64, events: Vec<Event>, error: JobError) -> Ended {
        if events.len() > 1 && !blamed.is_interrupted() {
            tracing::warn!(group = %self.spec.name, partition = blamed.held.partition, %error,
                "a batch failed: its events are tried one by one");
            return Ended { held: blamed.held, cursor, rest: events, then: Then::OneByOne };
        }
        self.charge(blamed, cursor, events, error).await
    }

    /// The first of the events failed.
    async fn charge(&self, blamed: Blamed, cursor: u64, mut events: Vec<Event>, error: JobError) -> Ended {
        let held = blamed.held;
        if blamed.is_interrupted() {
            return Ended { held, cursor, rest: events, then: Then::Lost };
        }
        let Some(event) = events.first() else { return Ended { held, cursor, rest: events, then: Then::Go } };
        tracing::warn!(group = %self.spec.name, partition = held.partition, event = event.id, %error, "an event failed");
        // Before the failure is written: the wait is not longer here than in the store.
        let now = self.options.clock.monotonic();
        let (wait, is_final, error) = match error.into_blame() {
            Blame::Wait(wait) => {
                let then = Then::Wait { attempts: blamed.attempts, until: now + wait };
                return Ended { held, cursor, rest: events, then };
            }
            Blame::Charge { after, error } => {
                let attempt = blamed.attempts.saturating_add(1);
                (after.unwrap_or_else(|| self.options.backoff.delay(attempt, &*self.options.entropy)), false, error)
            }
            Blame::Final(error) => (Duration::ZERO, true, error),
        };
        let attempts = match self.note(&blamed, cursor, wait, &error, is_final).await {
            Ok(attempts) => attempts,
            Err(unwritten) => return unwritten.ended(held, cursor),
        };
        if !is_final && attempts < self.spec.attempts {
            return Ended { held, cursor, rest: events, then: Then::Wait { attempts, until: now + wait } };
        }
        if self.spec.poison == Poison::Stop {
            tracing::error!(group = %self.spec.name, partition = held.partition, event = event.id, error,
                "a partition halts: its event used up its attempts; resume the group to try again");
            return Ended { held, cursor, rest: events, then: Then::Halt };
        }
        let stops_stream = self.spec.poison == Poison::ParkStream;
        let (to, stream) = (event.id, event.stream.clone());
        let aside = ParkedNow { position: to, stream: stream.clone(), stops_stream, error: error.into(), attempts };
        match self.park(&blamed, CursorMove { held, from: cursor, to }, &[aside]).await {
            Ok(()) => {
                events.remove(0);
                Ended { held, cursor: to, rest: events, then: Then::Parked(stops_stream.then_some(stream)) }
            }
            Err(unwritten) => unwritten.ended(held, cursor),
        }
    }

    /// Counts the failure; a final one of a group that halts uses up every attempt.
    async fn note(
        &self,
        blamed: &Blamed,
        at: u64,
        wait: Duration,
        error: &str,
        is_final: bool,
    ) -> Result<u32, Unwritten> {
        loop {
            let fail = || self.store.fail_partition(&self.spec.name, blamed.held, at, wait, error);
            let attempts = blamed.insist(fail).await?.ok_or(Unwritten::Lost)?;
            if !is_final || attempts >= self.spec.attempts || self.spec.poison != Poison::Stop {
                return Ok(attempts);
            }
        }
    }

    /// Moves the cursor and writes the effects. What the store cannot do now is tried again without a charge: the
    /// handler did its part.
    async fn commit(&self, blamed: &Blamed, from: u64, to: u64, effects: &Effects) -> Result<(), Unwritten> {
        self.reaches.check(effects).map_err(Unwritten::Refused)?;
        let step = CursorMove { held: blamed.held, from, to };
        let written = blamed.insist(|| self.store.commit(&self.spec.name, &step, effects)).await?;
        written.then_some(()).ok_or(Unwritten::Lost)
    }

    async fn park(&self, blamed: &Blamed, step: CursorMove, events: &[ParkedNow]) -> Result<(), Unwritten> {
        let written = blamed.insist(|| self.store.park(&self.spec.name, &step, events)).await?;
        written.then_some(()).ok_or(Unwritten::Lost)
    }
}

impl Reaches {
    fn check(self, effects: &Effects) -> Result<()> {
        let what = if !self.queue && !effects.enqueue.is_empty() {
            "jobs as effects of a group whose queue is in another store (enqueue them in the handler)"
        } else if !self.state && !effects.state.is_empty() {
            "state as an effect of a group whose state is in another store (write it in the handler)"
        } else {
            return Ok(());
        };
        Err(Error::Unsupported { store: "group", what })
    }
}

/// The partition that a write is for, and whether it is still worth a try.
struct Blamed {
    held: PartitionRef,
    attempts: u32,
    cancellation: Cancellation,
}

impl Blamed {
    /// What the handler answered after it was told to end is not its fault.
    fn is_interrupted(&self) -> bool {
        matches!(self.cancellation.reason(), Some(CancelReason::ClaimLost | CancelReason::Stopping))
    }

    /// Tries a write until the store can do it, or the partition is gone.
    async fn insist<T, F: Future<Output = Result<T>>>(&self, write: impl Fn() -> F) -> Result<T, Unwritten> {
        loop {
            match write().await {
                Ok(written) => return Ok(written),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "a write of a group is tried again");
                    if self.is_interrupted() {
                        return Err(Unwritten::Lost);
                    }
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                Err(error) if is_end(&error) => return Err(Unwritten::End(error)),
                Err(error) => return Err(Unwritten::Refused(error)),
            }
        }
    }
}

impl Unwritten {
    fn ended(self, held: PartitionRef, cursor: u64) -> Ended {
        let then = match self {
            Self::Lost => Then::Lost,
            Self::End(error) | Self::Refused(error) => Then::End(error),
        };
        Ended { held, cursor, rest: Vec::new(), then }
    }
}

/// Whether the group or its store is gone, rather than one write refused.
fn is_end(error: &Error) -> bool {
    match error {
        Error::Closed { .. } => true,
        Error::Invalid { what, .. } => what == "group",
        _ => false,
    }
}
