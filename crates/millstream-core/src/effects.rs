//! What a handler wants to happen with its outcome, as data.
//!
//! Effects are never a transaction handle: so settles of many handlers share one commit, no driver type crosses a
//! seam, and no writer is held across a handler's await.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Timestamp, job::NewJob, name::StreamName};

/// Everything one settlement writes beside its outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Effects {
    /// Events to append.
    pub append: Vec<Append>,
    /// Jobs to enqueue.
    pub enqueue: Vec<NewJob>,
    /// Run state to change.
    pub state: Vec<StateOp>,
    /// Rows of the flow index to write.
    pub runs: Vec<RunRow>,
}

impl Effects {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds others behind these.
    pub fn extend(&mut self, more: Self) {
        self.append.extend(more.append);
        self.enqueue.extend(more.enqueue);
        self.state.extend(more.state);
        self.runs.extend(more.runs);
    }

    /// How many writes these are; events count one by one.
    pub fn len(&self) -> usize {
        let events: usize = self.append.iter().map(|append| append.events.len()).sum();
        events + self.enqueue.len() + self.state.len() + self.runs.len()
    }
}

/// Events for one stream, appended together or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Append {
    /// The stream; it begins with its first event.
    pub stream: StreamName,
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// The version (number of events) the stream must have; 0: it must not exist yet.
    pub expected: Option<u64>,
    /// Makes a repeat harmless: a second append under the same key answers with the first one's positions and
    /// writes nothing, whatever version it expects. Kept for at least [`KEY_KEPT`](crate::limits::KEY_KEPT). Built from (job id, ordinal), never from the attempt.
    pub key: Option<Arc<str>>,
}

impl Append {
    /// One event for `stream`, unconditional.
    pub fn one(stream: StreamName, event: NewEvent) -> Self {
        Self { stream, events: vec![event], expected: None, key: None }
    }

    /// Requires the stream to be at this version.
    #[must_use]
    pub fn expecting(mut self, version: u64) -> Self {
        self.expected = Some(version);
        self
    }

    /// Makes a repeat harmless.
    #[must_use]
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// An event to be appended.
///
/// ```
/// use millstream_core::NewEvent;
/// use serde_json::json;
///
/// let event = NewEvent::new("order.paid", json!({ "order": 7 })).run("run-1", "checkout");
/// assert_eq!(event.flow_name.as_deref(), Some("checkout"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    /// Its type, such as `step.completed`.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<Arc<str>>,
    /// The flow of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_name: Option<Arc<str>>,
    /// The step of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_name: Option<Arc<str>>,
    /// The step's execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<Arc<str>>,
    /// The step's attempt, 1-based.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Anything else.
    #[serde(default)]
    pub data: Value,
}

impl NewEvent {
    /// An event outside any run.
    pub fn new(kind: impl Into<Arc<str>>, data: Value) -> Self {
        Self { kind: kind.into(), run_id: None, flow_name: None, step_name: None, step_id: None, attempt: None, data }
    }

    /// Places it in a run of a flow.
    #[must_use]
    pub fn run(mut self, run_id: impl Into<Arc<str>>, flow_name: impl Into<Arc<str>>) -> Self {
        self.run_id = Some(run_id.into());
        self.flow_name = Some(flow_name.into());
        self
    }

    /// Places it in one attempt of a step.
    #[must_use]
    pub fn step(mut self, name: impl Into<Arc<str>>, id: impl Into<Arc<str>>, attempt: u32) -> Self {
        self.step_name = Some(name.into());
        self.step_id = Some(id.into());
        self.attempt = Some(attempt);
        self
    }
}

/// A change of run state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StateOp {
    /// Writes a value.
    #[serde(rename_all = "camelCase")]
    Set {
        /// The key.
        key: Arc<str>,
        /// The value.
        value: Value,
        /// How long it is kept; `None`: until deleted.
        #[serde(with = "crate::duration_ms::option", rename = "ttlMs")]
        ttl: Option<Duration>,
    },
    /// Deletes a value; a missing one is fine.
    Delete {
        /// The key.
        key: Arc<str>,
    },
}

impl StateOp {
    /// The key it changes.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Set { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// A row of the flow index: written by the settle that changes the run, so it is right at every moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// The flow's name.
    pub flow: Arc<str>,
    /// The run's id.
    pub run: Arc<str>,
    /// `running`, `completed`, `failed` or `cancelled`.
    pub status: Arc<str>,
    /// When the run started.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}
