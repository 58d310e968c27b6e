//! How a consumer runs.

use std::{sync::Arc, time::Duration};

use crate::{
    backoff::Backoff,
    clock::{Clock, SystemClock},
    entropy::{Entropy, SystemEntropy},
    error::{Error, Result},
    limits::{CONCURRENCY_MAX, GROUP_READ_MAX},
};

/// How one consumer of a group runs.
#[derive(Clone)]
pub struct GroupOptions {
    /// Time for timeouts, leases and retries. Give a store without a clock of its own the same one.
    pub clock: Arc<dyn Clock>,
    /// Member ids and jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Events that one call of the handler gets at most. 100 by default. Each partition has up to about two such
    /// batches read ahead.
    pub batch: u32,
    /// Partitions whose handler runs at once. 8 by default.
    pub concurrency: u32,
    /// How often to look where a signal could have been lost, and at most how long until members see each other; real
    /// time. One second by default.
    pub poll: Duration,
    /// How long one call of the handler may take. An hour by default.
    pub timeout: Duration,
    /// The wait after a failure, where the handler names none.
    pub backoff: Backoff,
    /// How long running handlers get to finish when the consumer leaves. Ten seconds by default.
    pub grace: Duration,
    /// How long a handler whose token fired may tidy up before it is dropped. Five seconds by default.
    pub cancel_grace: Duration,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            batch: 100,
            concurrency: 8,
            poll: Duration::from_secs(1),
            timeout: Duration::from_secs(60 * 60),
            backoff: Backoff::Exponential { first: Duration::from_secs(1), cap: Duration::from_secs(60), jitter: 0.2 },
            grace: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(5),
        }
    }
}

impl GroupOptions {
    pub(crate) fn check(&self) -> Result<()> {
        if !(1..=GROUP_READ_MAX).contains(&self.batch) {
            return Err(Error::invalid("batch", self.batch, format!("a number from 1 to {GROUP_READ_MAX}")));
        }
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(Error::invalid(
                "concurrency",
                self.concurrency,
                format!("a number from 1 to {CONCURRENCY_MAX}"),
            ));
        }
        if self.poll.is_zero() {
            return Err(Error::invalid("poll interval", self.poll, "more than zero"));
        }
        Ok(())
    }
}
