//! Events as they are stored and read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Timestamp, name::StreamName, pattern::Pattern};

/// An immutable record in a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its position in the log: 1 for the first event, dense, in the order in which appends became visible.
    pub id: u64,
    /// Its stream.
    pub stream: StreamName,
    /// Its number in that stream, 1 for the first; `None` in a store that numbers only the streams whose appends
    /// expect a version.
    pub version: Option<u64>,
    /// When the store took it in.
    pub ts: Timestamp,
    /// Its type, such as `step.completed`.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// The run it belongs to.
    pub run_id: Option<Arc<str>>,
    /// The flow of that run.
    pub flow_name: Option<Arc<str>>,
    /// The step of that run.
    pub step_name: Option<Arc<str>>,
    /// The step's execution.
    pub step_id: Option<Arc<str>>,
    /// The step's attempt, 1-based.
    pub attempt: Option<u32>,
    /// Anything else.
    pub data: Value,
}

/// What became of one [`Append`](crate::Append).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Appended {
    /// The stream's version after it; `None` as in [`Event::version`].
    pub version: Option<u64>,
    /// Positions of its first and last event; `None` where the store numbers events after the commit.
    pub positions: Option<(u64, u64)>,
    /// Whether its key was used before: nothing was written, and the rest of this answer is the first append's.
    pub duplicate: bool,
}

/// Which events to read.
///
/// ```
/// use millstream_core::{EventQuery, Pattern};
///
/// let query = EventQuery { kinds: vec!["step.failed".into()], limit: 10, ..EventQuery::of(Pattern::new("nq:flow:*")?) };
/// assert_eq!(query.after, None);
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EventQuery {
    /// The streams.
    pub pattern: Pattern,
    /// The event types; empty: all.
    pub kinds: Vec<Arc<str>>,
    /// Only positions above this one. [`Error::Truncated`](crate::Error::Truncated) where retention removed what follows it.
    pub after: Option<u64>,
    /// Only positions up to this one.
    pub up_to: Option<u64>,
    /// Only events taken in at or after this time.
    pub since: Option<Timestamp>,
    /// Only events taken in before this time.
    pub until: Option<Timestamp>,
    /// At most so many; capped at [`PAGE_ROWS_MAX`](crate::limits::PAGE_ROWS_MAX).
    pub limit: u32,
    /// Which end to read from.
    pub direction: Direction,
}

impl EventQuery {
    /// The first page of a pattern's events, oldest first.
    pub fn of(pattern: Pattern) -> Self {
        Self {
            pattern,
            kinds: Vec::new(),
            after: None,
            up_to: None,
            since: None,
            until: None,
            limit: crate::limits::PAGE_ROWS_DEFAULT,
            direction: Direction::Forward,
        }
    }
}

/// Which end of the log to read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forward,
    /// Newest first.
    Backward,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// At the first event the log still holds.
    Start,
    /// After this position. [`Error::Truncated`](crate::Error::Truncated) where retention removed what follows it,
    /// [`Error::LogWentBack`](crate::Error::LogWentBack) where the log ends before it.
    After(u64),
    /// At the first event taken in at or after this time.
    Time(Timestamp),
    /// With the first event appended after the call returned.
    Now,
}
