//! Queues as people see them: information, counts, listings, and what happens in them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Timestamp,
    job::JobState,
    limits::PAGE_ROWS_DEFAULT,
    name::{JobId, JobName, QueueName},
};

/// A queue. It begins with its first job, schedule or pause, and is never forgotten by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueInfo {
    /// Its name.
    pub name: QueueName,
    /// Whether workers leave its jobs alone.
    pub paused: bool,
    /// Its jobs by state.
    pub counts: JobCounts,
}

/// How many jobs of a queue are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobCounts {
    /// Ready.
    pub waiting: u64,
    /// Not due yet.
    pub delayed: u64,
    /// Being worked.
    pub active: u64,
    /// Finished with an output.
    pub completed: u64,
    /// Finished with an error.
    pub failed: u64,
    /// Finished because somebody asked.
    pub cancelled: u64,
    /// The waiting ones again, if the queue is paused: not one more job.
    pub paused: u64,
}

impl JobCounts {
    /// The count of one state.
    pub fn of(&self, state: JobState) -> u64 {
        match state {
            JobState::Waiting => self.waiting,
            JobState::Delayed => self.delayed,
            JobState::Active => self.active,
            JobState::Completed => self.completed,
            JobState::Failed => self.failed,
            JobState::Cancelled => self.cancelled,
        }
    }

    /// The count of one state, to change.
    pub fn of_mut(&mut self, state: JobState) -> &mut u64 {
        match state {
            JobState::Waiting => &mut self.waiting,
            JobState::Delayed => &mut self.delayed,
            JobState::Active => &mut self.active,
            JobState::Completed => &mut self.completed,
            JobState::Failed => &mut self.failed,
            JobState::Cancelled => &mut self.cancelled,
        }
    }

    /// All jobs of the queue.
    pub fn total(&self) -> u64 {
        JobState::ALL.into_iter().map(|state| self.of(state)).sum()
    }

    /// Jobs that are not finished.
    pub fn unfinished(&self) -> u64 {
        self.waiting + self.delayed + self.active
    }
}

/// Which jobs of a queue to list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsQuery {
    /// The queue.
    pub queue: QueueName,
    /// The states; empty: all.
    pub states: Vec<JobState>,
    /// The job name.
    pub name: Option<JobName>,
    /// Only jobs taken in at or after this time.
    pub since: Option<Timestamp>,
    /// Only jobs taken in before this time.
    pub until: Option<Timestamp>,
    /// Where the page begins: the `next` of the one before.
    pub after: Option<Arc<str>>,
    /// Rows of the page; capped at [`PAGE_ROWS_MAX`](crate::limits::PAGE_ROWS_MAX).
    pub limit: u32,
}

impl JobsQuery {
    /// The first page of all jobs of a queue.
    pub fn of(queue: QueueName) -> Self {
        Self { queue, states: Vec::new(), name: None, since: None, until: None, after: None, limit: PAGE_ROWS_DEFAULT }
    }
}

/// Something that happened in a queue: a hint for people and pages. What must not be missed reads the event store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueEvent {
    /// The queue.
    pub queue: QueueName,
    /// What happened.
    pub kind: QueueEventKind,
    /// To which job; `None` for what happens to the queue itself.
    pub job: Option<JobId>,
    /// The job's name.
    pub name: Option<JobName>,
    /// The attempt it was about, 1-based.
    pub attempt: Option<u32>,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// Output, error, progress or due time, where the kind has one.
    pub data: Option<Value>,
}

/// The kinds of queue events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueEventKind {
    /// A job became ready: enqueued, due, released, retried or promoted.
    Waiting,
    /// A worker took a job.
    Active,
    /// A handler reported progress.
    Progress,
    /// A job finished with an output.
    Completed,
    /// A job finished with an error.
    Failed,
    /// A job waits for its time: enqueued so, between attempts, or snoozed.
    Delayed,
    /// A job's holder vanished: its lease ran out.
    Stalled,
    /// A job was cancelled.
    Cancelled,
    /// A job was removed.
    Removed,
    /// The queue was paused.
    Paused,
    /// The queue was resumed.
    Resumed,
}

impl QueueEventKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Waiting,
        Self::Active,
        Self::Progress,
        Self::Completed,
        Self::Failed,
        Self::Delayed,
        Self::Stalled,
        Self::Cancelled,
        Self::Removed,
        Self::Paused,
        Self::Resumed,
    ];

    /// Its word; on the bus and in the log it is `job.<word>`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Progress => "progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Stalled => "stalled",
            Self::Cancelled => "cancelled",
            Self::Removed => "removed",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
        }
    }
}

impl From<JobState> for QueueEventKind {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Waiting => Self::Waiting,
            JobState::Delayed => Self::Delayed,
            JobState::Active => Self::Active,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}
