//! A claim: one holder's right to settle one job.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    job_group::JobGroup,
    name::{JobId, JobName, QueueName},
};

/// One holder's right to settle one job. New at every claim, never reused, compared for equality only; **this alone
/// is the fence.** The attempt number is for people.
///
/// A claim is valid from the moment it is taken until it is settled or released, until somebody else removes the
/// job, or until one lease has passed, by the store's clock, since it was taken or last named in a beat.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRef {
    /// The job's queue.
    pub queue: QueueName,
    /// The job's id.
    pub job: JobId,
    /// The store's own proof.
    pub token: Arc<str>,
}

impl fmt::Display for ClaimRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.queue, self.job)
    }
}

/// How many jobs of one queue a process has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The queue.
    pub queue: QueueName,
    /// Its free slots.
    pub at_most: u32,
    /// Whether the process expects to be done with all of them within tens of milliseconds, by how long the last ones
    /// took. A hint: a store may save writes by it, and keeps every promise where it is wrong.
    pub brief: bool,
}

impl Want {
    /// Room for so many jobs, of which nothing is known.
    pub const fn new(queue: QueueName, at_most: u32) -> Self {
        Self { queue, at_most, brief: false }
    }
}

/// A job taken for work.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The right to settle it.
    pub claim: ClaimRef,
    /// Which handler runs it.
    pub name: JobName,
    /// Tells this life of the job from another: it changes when an operator runs a finished job again, and when the
    /// id is used anew after a removal; a retry, release or rescue keeps it. Opaque.
    pub life: Arc<str>,
    /// The handler's input.
    pub data: Value,
    /// Which attempt this is, 1-based.
    pub attempt: u32,
    /// How many attempts it has in all.
    pub attempts: u32,
    /// How long this attempt may take.
    pub timeout: Option<Duration>,
    /// Which jobs it is counted with.
    pub group: Option<JobGroup>,
    /// The caller's trace context.
    pub trace: Option<Value>,
    /// Whether its store writes less where all jobs of this call are settled in one batch, soon. A hint.
    pub together: bool,
}

/// What a beat answers about one held claim that needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The claim is no longer this holder's: it ran out, or the job was taken away.
    Lost,
    /// Somebody asked to cancel the job.
    Cancel,
}

/// Why [`wait`](crate::JobStore::wait) returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There may be work, or an earlier due time.
    Work,
    /// A running job may have been cancelled or taken away: beat now. There may be work as well.
    Beat,
}

/// A running job's progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Whose it is.
    pub claim: ClaimRef,
    /// Any JSON; a number from 0 to 100 is shown as a percentage.
    pub value: Value,
}
