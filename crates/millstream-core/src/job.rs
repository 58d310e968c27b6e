//! A job: what is asked for ([`NewJob`], [`JobOptions`]), what is stored ([`Job`]), and the states between.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Timestamp,
    backoff::Backoff,
    error::{Error, Result},
    job_group::JobGroup,
    limits::{ATTEMPTS_MAX, DELAY_MAX},
    name::{JobId, JobName, QueueName},
};

/// Where a job is in its life.
///
/// ```text
///   enqueue ─► waiting ─claim─► active ─► completed
///      │          ▲               ├─────► failed      (attempts used up, or failed for good)
///      └► delayed ┘ ◄─retry,──────┘ ───► cancelled
///            due     snooze
/// ```
///
/// A paused queue's waiting jobs stay `Waiting`; they are counted as `paused` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Ready to be claimed.
    Waiting,
    /// Becomes waiting at its time.
    Delayed,
    /// Claimed by a worker whose lease has not run out.
    Active,
    /// Finished with an output.
    Completed,
    /// Finished with an error.
    Failed,
    /// Finished because somebody asked for it.
    Cancelled,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Delayed, Self::Active, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether the job will not run again by itself.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word used in listings, JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            Error::invalid("job state", text, "waiting, delayed, active, completed, failed or cancelled")
        })
    }
}

/// What becomes of a finished job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum Removal {
    /// It stays until somebody removes it.
    #[default]
    #[serde(with = "removal_word::never")]
    Never,
    /// It is removed by the settle itself; its id is free again.
    #[serde(with = "removal_word::at_once")]
    AtOnce,
    /// The newest `count` of its queue stay, none of them longer than `age`; the store sweeps the rest.
    #[serde(rename_all = "camelCase")]
    Keep {
        /// How many finished jobs of this state the queue keeps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
        /// How long one is kept.
        #[serde(
            default,
            with = "crate::duration_ms::option",
            rename = "ageMs",
            skip_serializing_if = "Option::is_none"
        )]
        age: Option<Duration>,
    },
}

/// `false` and `true`, as BullMQ and the original module spell them.
mod removal_word {
    macro_rules! word {
        ($module:ident, $word:literal) => {
            pub(super) mod $module {
                pub(crate) fn serialize<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_bool($word)
                }
                pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
                    let word = <bool as serde::Deserialize>::deserialize(deserializer)?;
                    if word == $word { Ok(()) } else { Err(serde::de::Error::custom("another word")) }
                }
            }
        };
    }
    word!(never, false);
    word!(at_once, true);
}

/// When a job becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunAt {
    /// So long after the store took it in.
    #[serde(rename = "delayMs", with = "crate::duration_ms")]
    After(Duration),
    /// At this time.
    #[serde(rename = "runAt")]
    At(Timestamp),
}

/// How a job is run. What is `None` comes from the queue's defaults, then from [`JobSettings::default`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JobOptions {
    /// How many times it may run in all. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long it waits between attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// 0 by default, **smaller runs first**. Equal priorities run in the order in which they became ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// How long one attempt may take.
    #[serde(rename = "timeoutMs", with = "crate::duration_ms::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long it waits before its first attempt, where the job names no time of its own.
    #[serde(rename = "delayMs", with = "crate::duration_ms::option", skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// What becomes of it once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_complete: Option<Removal>,
    /// What becomes of it once failed or cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_on_fail: Option<Removal>,
    /// Which jobs it is counted with, where it is limited how many of them run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<JobGroup>,
}

impl JobOptions {
    /// These options, completed from `defaults`.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            attempts: self.attempts.or(defaults.attempts),
            backoff: self.backoff.or_else(|| defaults.backoff.clone()),
            priority: self.priority.or(defaults.priority),
            timeout: self.timeout.or(defaults.timeout),
            delay: self.delay.or(defaults.delay),
            remove_on_complete: self.remove_on_complete.or(defaults.remove_on_complete),
            remove_on_fail: self.remove_on_fail.or(defaults.remove_on_fail),
            group: self.group.or_else(|| defaults.group.clone()),
        }
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] for the first option that no store accepts.
    pub fn check(&self) -> Result<()> {
        if let Some(attempts) = self.attempts
            && !(1..=ATTEMPTS_MAX).contains(&attempts)
        {
            return Err(Error::invalid("attempts", attempts, format!("a number from 1 to {ATTEMPTS_MAX}")));
        }
        if let Some(backoff) = &self.backoff {
            backoff.check()?;
        }
        if let Some(timeout) = self.timeout
            && (timeout < Duration::from_millis(1) || timeout > DELAY_MAX)
        {
            return Err(Error::invalid("timeout", timeout, "1 ms to ten years"));
        }
        if let Some(delay) = self.delay
            && delay > DELAY_MAX
        {
            return Err(Error::invalid("delay", delay, "at most ten years"));
        }
        self.group.as_ref().map_or(Ok(()), JobGroup::check)
    }
}

/// The options of a stored job: nothing left open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSettings {
    /// How many times it may run in all.
    pub attempts: u32,
    /// How long it waits between attempts.
    pub backoff: Backoff,
    /// Smaller runs first.
    pub priority: i32,
    /// How long one attempt may take.
    #[serde(rename = "timeoutMs", with = "crate::duration_ms::option")]
    pub timeout: Option<Duration>,
    /// What becomes of it once completed.
    pub remove_on_complete: Removal,
    /// What becomes of it once failed or cancelled.
    pub remove_on_fail: Removal,
    /// Which jobs it is counted with, where it is limited how many of them run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<JobGroup>,
}

/// Three attempts, exponential backoff from a second, priority 0, no timeout, nothing removed.
impl Default for JobSettings {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
            priority: 0,
            timeout: None,
            remove_on_complete: Removal::Never,
            remove_on_fail: Removal::Never,
            group: None,
        }
    }
}

impl From<JobOptions> for JobSettings {
    fn from(options: JobOptions) -> Self {
        let base = Self::default();
        Self {
            attempts: options.attempts.unwrap_or(base.attempts),
            backoff: options.backoff.unwrap_or(base.backoff),
            priority: options.priority.unwrap_or(base.priority),
            timeout: options.timeout.or(base.timeout),
            remove_on_complete: options.remove_on_complete.unwrap_or(base.remove_on_complete),
            remove_on_fail: options.remove_on_fail.unwrap_or(base.remove_on_fail),
            group: options.group,
        }
    }
}

/// A job to be enqueued.
///
/// ```
/// use std::time::Duration;
/// use millstream_core::{JobId, JobName, NewJob, QueueName};
/// use serde_json::json;
///
/// let job = NewJob::new(QueueName::new("mail")?, JobName::new("welcome")?, json!({ "to": "ada" }))
///     .id(JobId::new("welcome-ada")?)
///     .attempts(5)
///     .delay(Duration::from_secs(60));
/// assert_eq!(job.options.attempts, Some(5));
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewJob {
    /// The queue it waits in.
    pub queue: QueueName,
    /// Which handler of that queue runs it.
    pub name: JobName,
    /// The handler's input.
    pub data: Value,
    /// The caller's own id: a second job with the same id in the same queue is a [`Enqueued::Duplicate`], in
    /// whatever state the first one is. Without one, the store makes a time-ordered UUID.
    pub id: Option<JobId>,
    /// When it becomes ready; `None`: after the options' `delay`, or at once.
    pub run_at: Option<RunAt>,
    /// How it is run.
    pub options: JobOptions,
    /// A W3C trace context of the caller, handed to the handler.
    pub trace: Option<Value>,
}

impl NewJob {
    /// A job with its queue's default options.
    pub fn new(queue: QueueName, name: JobName, data: Value) -> Self {
        Self { queue, name, data, id: None, run_at: None, options: JobOptions::default(), trace: None }
    }

    /// Sets the caller's own id.
    #[must_use]
    pub fn id(mut self, id: JobId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets how many times it may run in all.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = Some(attempts);
        self
    }

    /// Sets the wait between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = Some(backoff);
        self
    }

    /// Sets the priority: smaller runs first.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Sets how long one attempt may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Becomes ready so long after the store took it in.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.run_at = Some(RunAt::After(delay));
        self
    }

    /// Becomes ready at this time.
    #[must_use]
    pub fn run_at(mut self, at: Timestamp) -> Self {
        self.run_at = Some(RunAt::At(at));
        self
    }

    /// Sets what becomes of it once completed.
    #[must_use]
    pub fn remove_on_complete(mut self, removal: Removal) -> Self {
        self.options.remove_on_complete = Some(removal);
        self
    }

    /// Sets what becomes of it once failed or cancelled.
    #[must_use]
    pub fn remove_on_fail(mut self, removal: Removal) -> Self {
        self.options.remove_on_fail = Some(removal);
        self
    }

    /// Sets which jobs it is counted with.
    #[must_use]
    pub fn group(mut self, id: impl Into<Arc<str>>) -> Self {
        self.options.group = Some(JobGroup::new(id));
        self
    }

    /// When it becomes ready, as seen at `now`; `None`: at once.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let due = match (self.run_at, self.options.delay) {
            (Some(RunAt::At(at)), _) => at,
            (Some(RunAt::After(delay)), _) | (None, Some(delay)) => now.saturating_add(delay).unwrap_or(Timestamp::MAX),
            (None, None) => return None,
        };
        (due > now).then_some(due)
    }
}

/// What became of one job of an `enqueue`. Never an empty string, never a silent null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Enqueued {
    /// It was stored under this id.
    Created(JobId),
    /// The queue already has a job of this id, in some state; nothing was stored.
    Duplicate(JobId),
}

impl Enqueued {
    /// The id that finds the job.
    pub fn id(&self) -> &JobId {
        match self {
            Self::Created(id) | Self::Duplicate(id) => id,
        }
    }

    /// Whether this call stored the job.
    pub fn is_created(&self) -> bool {
        matches!(self, Self::Created(_))
    }
}

/// A stored job, as listings show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its queue.
    pub queue: QueueName,
    /// Its id in that queue.
    pub id: JobId,
    /// Which handler runs it.
    pub name: JobName,
    /// Where it is in its life.
    pub state: JobState,
    /// The handler's input.
    pub data: Value,
    /// How it is run.
    pub settings: JobSettings,
    /// The latest attempt, 1-based; 0 before the first.
    pub attempt: u32,
    /// The last progress its handler reported.
    pub progress: Option<Value>,
    /// What its handler returned.
    pub output: Option<Value>,
    /// Why its latest failed attempt failed, also while it waits for the next one.
    pub error: Option<Value>,
    /// Whether somebody asked to cancel it while it was running.
    pub cancel_requested: bool,
    /// When the store took it in.
    pub created_at: Timestamp,
    /// When it becomes, or became, ready.
    pub run_at: Timestamp,
    /// When its latest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it finished.
    pub finished_at: Option<Timestamp>,
}
