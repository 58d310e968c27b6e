//! How workers run.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    entropy::{Entropy, SystemEntropy},
    error::{Error, Result},
    limits::CONCURRENCY_MAX,
    options::check_poll,
};

/// How the workers of one process run.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Time for timeouts, leases and due jobs. Give a store without a clock of its own the same one.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Jobs that one queue runs at once, where the queue names no number. 10 by default.
    pub concurrency: u32,
    /// Whether [`start`](crate::WorkerManager::start) starts every queue; `false`: each waits for
    /// [`Worker::run`](crate::Worker::run).
    pub autorun: bool,
    /// How often the engine looks for itself where a signal could have been lost; real time, up to a quarter of it
    /// taken off at random so that many processes do not look at once. Where the store hears every process's signals,
    /// it looks a quarter as often for ready jobs, and a tenth as often for due ones. One second by default.
    pub poll: Duration,
    /// How long running jobs get to finish when the workers stop. Ten seconds by default.
    pub grace: Duration,
    /// How long a handler whose token fired (claim lost, job cancelled) may tidy up before it is dropped. Five
    /// seconds by default.
    pub cancel_grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            concurrency: 10,
            autorun: true,
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(5),
        }
    }
}

/// How one queue's workers run; what is `None` comes from [`WorkerOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueWorkerOptions {
    /// Jobs it runs at once.
    pub concurrency: Option<u32>,
    /// Whether it starts with the others.
    pub autorun: Option<bool>,
    /// Jobs of one [group](crate::JobGroup) it runs at once; `None`: as many as there are slots. Other processes count for
    /// themselves. What was taken of a group that runs as many waits here for its turn; while a hundred wait, the worker
    /// takes no more from the queue.
    pub group_concurrency: Option<u32>,
}

impl WorkerOptions {
    /// What a manager refuses to start with.
    pub(crate) fn check(&self) -> Result<()> {
        check_concurrency(self.concurrency)?;
        check_poll(self.poll)
    }
}

impl QueueWorkerOptions {
    pub(crate) fn check(&self) -> Result<()> {
        self.concurrency.map_or(Ok(()), check_concurrency)?;
        self.group_concurrency.map_or(Ok(()), |at_most| check_number("group concurrency", at_most))
    }
}

fn check_concurrency(concurrency: u32) -> Result<()> {
    check_number("concurrency", concurrency)
}

fn check_number(what: &'static str, number: u32) -> Result<()> {
    if (1..=CONCURRENCY_MAX).contains(&number) {
        return Ok(());
    }
    Err(Error::invalid(what, number, format!("a number from 1 to {CONCURRENCY_MAX}")))
}
