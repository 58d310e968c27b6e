//! The partitions this consumer has, and how long it may trust that.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::partition::PartitionRef;
use crate::worker::{CancelReason, context::Cancellation};

/// The share of a lease that is given up to clocks and scheduling, as for claims of jobs.
const MARGIN: u32 = 10;

/// Written by the engine (takes, drops, begins) and the heart (renews, fires).
pub(super) struct Held {
    lease: Duration,
    partitions: Mutex<HashMap<PartitionRef, Entry>>,
}

struct Entry {
    /// By the process's monotonic clock.
    trusted_until: Duration,
    /// Of the handler under way, if there is one.
    running: Option<Cancellation>,
}

impl Held {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, partitions: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionRef, Entry>> {
        // Every change is one insert, remove or assignment: a panic leaves nothing half done.
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trust(&self, asked_at: Duration) -> Duration {
        asked_at + self.lease - self.lease / MARGIN
    }

    /// A partition that was asked for at `asked_at`.
    pub(super) fn take(&self, held: PartitionRef, asked_at: Duration) {
        let entry = Entry { trusted_until: self.trust(asked_at), running: None };
        self.lock().insert(held, entry);
    }

    pub(super) fn drop_one(&self, held: PartitionRef) {
        self.lock().remove(&held);
    }

    pub(super) fn all(&self) -> Vec<PartitionRef> {
        self.lock().keys().copied().collect()
    }

    /// Those of `beaten` that are still ours are trusted again, from the moment before the beat was sent.
    pub(super) fn renew(&self, beaten: &[PartitionRef], asked_at: Duration) {
        let trusted_until = self.trust(asked_at);
        let mut partitions = self.lock();
        for held in beaten {
            if let Some(entry) = partitions.get_mut(held) {
                entry.trusted_until = entry.trusted_until.max(trusted_until);
            }
        }
    }

    /// A token for a handler that is about to start; `None`: the partition is not trusted any more.
    pub(super) fn begin(&self, held: PartitionRef, now: Duration) -> Option<Cancellation> {
        let mut partitions = self.lock();
        let entry = partitions.get_mut(&held).filter(|entry| entry.trusted_until > now)?;
        let cancellation = Cancellation::default();
        entry.running = Some(cancellation.clone());
        Some(cancellation)
    }

    pub(super) fn ended(&self, held: PartitionRef) {
        if let Some(entry) = self.lock().get_mut(&held) {
            entry.running = None;
        }
    }

    /// Tells the partition's handler, if there is one.
    pub(super) fn fire(&self, held: PartitionRef, reason: CancelReason) {
        if let Some(running) = self.lock().get(&held).and_then(|entry| entry.running.as_ref()) {
            running.fire(reason);
        }
    }

    pub(super) fn fire_all(&self, reason: CancelReason) {
        self.lock().values().filter_map(|entry| entry.running.as_ref()).for_each(|running| running.fire(reason));
    }

    /// Tells handlers of partitions that are no longer trusted. Answers when the next one stops being trusted.
    pub(super) fn distrust(&self, now: Duration) -> Option<Duration> {
        let partitions = self.lock();
        for entry in partitions.values().filter(|entry| entry.trusted_until <= now) {
            entry.running.as_ref().inspect(|running| running.fire(CancelReason::ClaimLost));
        }
        partitions.values().map(|entry| entry.trusted_until).filter(|until| *until > now).min()
    }
}
