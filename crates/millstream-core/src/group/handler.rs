//! What a group's handler is, and what it is given beside its events.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    effects::Effects,
    event::Event,
    name::{ConsumerName, GroupName},
    worker::{CancelReason, JobError, context::Cancellation},
};

/// Handles the events of a group.
///
/// What it **returns** is written in the transaction that moves the cursor: exactly once, for every store that this
/// commit reaches. What it **does** (a mail, a request, a write into another database) happens at least once: after a
/// crash at most the batches under way are repeated, by a holder with a larger [`GroupContext::epoch`].
#[async_trait]
pub trait GroupHandler: Send + Sync + 'static {
    /// Handles some events of one partition, in order of position. There is no other call for this partition meanwhile.
    async fn handle(&self, events: &[Event], ctx: GroupContext) -> Handled;
}

/// How a call of a handler ended.
#[derive(Debug)]
pub enum Handled {
    /// All is well: these are its effects.
    Done(Effects),
    /// It failed, on one of the events. They are tried one by one to find it.
    Failed(JobError),
    /// It failed on one event; those before it are done.
    FailedAt {
        /// How many are done.
        done: usize,
        /// Their effects.
        effects: Effects,
        /// Why the next one failed.
        error: JobError,
    },
}

impl From<Result<Effects, JobError>> for Handled {
    fn from(result: Result<Effects, JobError>) -> Self {
        match result {
            Ok(effects) => Self::Done(effects),
            Err(error) => Self::Failed(error),
        }
    }
}

/// What a handler is given beside its events. Cheap to clone.
#[derive(Clone)]
pub struct GroupContext {
    pub(super) shared: Arc<ContextParts>,
}

pub(super) struct ContextParts {
    pub(super) group: GroupName,
    pub(super) consumer: ConsumerName,
    pub(super) partition: u16,
    pub(super) epoch: u64,
    pub(super) attempts: u32,
    pub(super) cancellation: Cancellation,
}

impl GroupContext {
    /// The group.
    pub fn group(&self) -> &GroupName {
        &self.shared.group
    }

    /// This consumer's name.
    pub fn consumer(&self) -> &ConsumerName {
        &self.shared.consumer
    }

    /// The partition that the events are of.
    pub fn partition(&self) -> u16 {
        self.shared.partition
    }

    /// A fencing token for other systems: it grows whenever the partition changes hands, so whoever has seen a larger
    /// one of the same partition should refuse this one.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// How often the first of the events failed before.
    pub fn attempts(&self) -> u32 {
        self.shared.attempts
    }

    /// Fires when the handler should end: the partition was lost, the time is up, or the consumer leaves.
    pub fn cancellation(&self) -> &CancellationToken {
        self.shared.cancellation.token()
    }

    /// Why the token fired; `None` while it did not.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.shared.cancellation.reason()
    }
}

impl fmt::Debug for GroupContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ContextParts { group, partition, epoch, .. } = &*self.shared;
        write!(f, "GroupContext({group}, partition {partition}, epoch {epoch})")
    }
}

/// An event with its data as the handler's type. Reads as the [`Event`].
#[derive(Clone, Debug)]
pub struct EventOf<T> {
    event: Event,
    /// Its data.
    pub body: T,
}

impl<T> Deref for EventOf<T> {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

impl<T: DeserializeOwned> EventOf<T> {
    /// The same data fails the same way next time: no attempt would help.
    pub(super) fn new(event: &Event) -> Result<Self, JobError> {
        let body = T::deserialize(&event.data).map_err(|error| {
            JobError::fail(format!(
                "data of event {} ({}) is not what the handler takes: {error}",
                event.id, event.kind
            ))
        })?;
        Ok(Self { event: event.clone(), body })
    }
}

/// A function of one event, as a handler. A batch of events is one commit all the same; an event that fails lets those
/// before it be done.
pub fn each<T, F, Fut>(run: F) -> Arc<dyn GroupHandler>
where
    F: Fn(EventOf<T>, GroupContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Effects, JobError>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
{
    Arc::new(Each { run, types: PhantomData })
}

/// A function of a batch of events, as a handler. When it fails, the events are tried one by one.
pub fn batch<T, F, Fut>(run: F) -> Arc<dyn GroupHandler>
where
    F: Fn(Vec<EventOf<T>>, GroupContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Effects, JobError>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
{
    Arc::new(Batch { run, types: PhantomData })
}

struct Each<F, T> {
    run: F,
    types: PhantomData<fn(T)>,
}

#[async_trait]
impl<F, Fut, T> GroupHandler for Each<F, T>
where
    F: Fn(EventOf<T>, GroupContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Effects, JobError>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
{
    async fn handle(&self, events: &[Event], ctx: GroupContext) -> Handled {
        let mut effects = Effects::default();
        for (done, event) in events.iter().enumerate() {
            // Between two events is the moment to stop: what was done is kept.
            if done > 0 && ctx.cancellation().is_cancelled() {
                return Handled::FailedAt { done, effects, error: JobError::retry("interrupted") };
            }
            let handled = match EventOf::new(event) {
                Ok(event) => (self.run)(event, ctx.clone()).await,
                Err(error) => Err(error),
            };
            match handled {
                Ok(more) => effects.extend(more),
                Err(error) => return Handled::FailedAt { done, effects, error },
            }
        }
        Handled::Done(effects)
    }
}

struct Batch<F, T> {
    run: F,
    types: PhantomData<fn(T)>,
}

#[async_trait]
impl<F, Fut, T> GroupHandler for Batch<F, T>
where
    F: Fn(Vec<EventOf<T>>, GroupContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Effects, JobError>> + Send + 'static,
    T: DeserializeOwned + Send + 'static,
{
    async fn handle(&self, events: &[Event], ctx: GroupContext) -> Handled {
        let mut typed = Vec::with_capacity(events.len());
        for event in events {
            match EventOf::new(event) {
                Ok(event) => typed.push(event),
                Err(error) => return Handled::Failed(error),
            }
        }
        (self.run)(typed, ctx).await.into()
    }
}
