//! What every store is opened with, and how a new job is completed from its queue's defaults.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Timestamp,
    clock::{Clock, SystemClock},
    entropy::{Entropy, SystemEntropy},
    error::{Error, Result},
    job::{JobOptions, JobSettings, NewJob, RunAt},
    limits::{DELAY_MAX, ENQUEUE_BATCH_MAX},
    name::QueueName,
    payload,
    retention::Retention,
};

/// How long a claim holds without a beat, by default. Long enough for a stopped disk or a slow failover, short
/// enough that a crashed worker's jobs are back within the minute.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// The shortest lease: below it, one slow commit would cost claims.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// The longest lease: a crashed worker's jobs are back the next day at the latest.
pub const LEASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a store looks for itself where a signal could have been lost, by default.
pub const POLL_DEFAULT: Duration = Duration::from_millis(250);

/// What every store is opened with.
#[derive(Clone)]
pub struct StoreOptions {
    /// Time for stores that have no clock of their own.
    pub clock: Arc<dyn Clock>,
    /// Ids, tokens, jitter.
    pub entropy: Arc<dyn Entropy>,
    /// How long a claim holds without a beat.
    pub lease: Duration,
    /// Job options that a job does not name itself.
    pub defaults: QueueDefaults,
    /// Which job events go into the log.
    pub job_events: JobEvents,
    /// Whether wake-ups are sent at all.
    pub signals: Signals,
    /// How often a subscription looks for itself: real time, the fallback of a lost signal.
    pub poll: Duration,
    /// How long the log keeps events, while [`EventStore::set_retention`](crate::EventStore::set_retention) was not called.
    pub retention: Retention,
}

impl StoreOptions {
    /// What every store refuses before it opens anything.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a lease below [`LEASE_MIN`] or above [`LEASE_MAX`], and for a poll without a pause; what
    /// [`Retention::check`] answers.
    pub fn check(&self) -> Result<()> {
        check_poll(self.poll)?;
        self.retention.check()?;
        if (LEASE_MIN..=LEASE_MAX).contains(&self.lease) {
            return Ok(());
        }
        Err(Error::invalid("lease", self.lease, format!("{LEASE_MIN:?} to a day")))
    }
}

/// A loop that looks again without a pause would take a core for itself.
pub(crate) fn check_poll(poll: Duration) -> Result<()> {
    match poll < Duration::from_millis(1) {
        true => Err(Error::invalid("poll", poll, "at least 1ms")),
        false => Ok(()),
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            lease: LEASE_DEFAULT,
            defaults: QueueDefaults::default(),
            job_events: JobEvents::Off,
            signals: Signals::On,
            poll: POLL_DEFAULT,
            retention: Retention::default(),
        }
    }
}

/// Whether a store sends wake-ups. Muted, everything still happens, a poll later: the suite runs so once, because a
/// signal is a hint and the table is the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    /// Sent.
    #[default]
    On,
    /// Swallowed.
    Muted,
}

/// Which job events are appended to `nq:queue:<queue>`, in the transaction that causes them: `job.waiting`,
/// `job.active`, and so on, with the job's id, name and attempt in the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobEvents {
    /// None.
    #[default]
    Off,
    /// `job.failed`, and `job.stalled`.
    Failures,
    /// A replayable log of every job.
    All,
}

/// Default job options: of every queue, and of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueDefaults {
    /// For queues that are not named.
    pub base: JobOptions,
    /// By queue; what one leaves open comes from `base`.
    pub queues: HashMap<QueueName, JobOptions>,
}

/// A new job that is complete and within bounds, ready to be written.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The data as JSON text.
    pub data: String,
    /// The trace context as JSON text.
    pub trace: Option<String>,
    /// Options with nothing left open.
    pub settings: JobSettings,
    /// When it becomes ready, if not now.
    pub due: Option<Timestamp>,
}

impl QueueDefaults {
    /// Completes and checks a job, as seen at `now`. Every store calls it for every job it takes in: by `enqueue`,
    /// as an effect, or from a schedule.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the first thing that no store accepts.
    pub fn admit(&self, job: &NewJob, now: Timestamp) -> Result<Admitted> {
        let data = payload::text("job data", &job.data)?;
        let trace = job.trace.as_ref().map(|trace| payload::text("trace", trace)).transpose()?;
        if let Some(RunAt::After(delay)) = job.run_at
            && delay > DELAY_MAX
        {
            return Err(Error::invalid("delay", delay, "at most ten years"));
        }
        let options = self.complete(&job.queue, job.options.clone());
        options.check()?;
        let delay = options.delay;
        let due = NewJob {
            options: JobOptions { delay, ..JobOptions::default() },
            data: Value::Null,
            trace: None,
            ..job.clone()
        }
        .due(now);
        // As a delay's bound: arithmetic must not leave the calendar, not even by rounding.
        if let Some(due) = due
            && due.checked_add(DELAY_MAX).is_err()
        {
            return Err(Error::invalid("time to run at", due, "a time before the calendar's last ten years"));
        }
        Ok(Admitted { data, trace, settings: options.into(), due })
    }

    /// A job's own options, completed from its queue's and from the base.
    pub fn complete(&self, queue: &QueueName, own: JobOptions) -> JobOptions {
        match self.queues.get(queue) {
            Some(defaults) => own.or(defaults).or(&self.base),
            None => own.or(&self.base),
        }
    }
}

/// # Errors
///
/// [`Error::Invalid`] for a batch above [`ENQUEUE_BATCH_MAX`].
pub fn check_enqueue_batch(jobs: &[NewJob]) -> Result<()> {
    if jobs.len() > ENQUEUE_BATCH_MAX {
        let got = format!("{} jobs", jobs.len());
        return Err(Error::invalid("enqueue batch", got, format!("at most {ENQUEUE_BATCH_MAX}")));
    }
    Ok(())
}
