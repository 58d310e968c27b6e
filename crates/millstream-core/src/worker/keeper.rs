//! Keeps queues moving whatever becomes of workers: due jobs, schedules, crashed holders, retention.
//!
//! Every process runs one. Each of its steps is a transaction that is right however many others do the same.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::{Timestamp, clock::Clock, entropy::Entropy, error::Result, store::JobStore};

/// Rescues a lease: a crashed worker's job is back at most a lease and a half after its last beat.
const RESCUES_PER_LEASE: u32 = 2;
/// How often finished jobs past their removal, and expired state and keys, are swept.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Polls between two looks for what is due, where wake-ups tell of an earlier time than the known one.
const QUIET: u32 = 10;
/// Signals closer together than this cost one look.
const LOOK_APART: Duration = Duration::from_millis(2);

pub(crate) struct Keeper {
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) poll: Duration,
    /// Set by the engine: something may be due earlier than known.
    pub(crate) look: Arc<Notify>,
}

impl Keeper {
    /// Runs until dropped. What is due waits for nothing else: a sweep of a full store takes long, and so does a lock
    /// that it needs.
    pub(crate) async fn run(self) {
        tokio::join!(self.keep_time(), self.keep_claims(), self.keep_tidy());
    }

    /// Delayed jobs and schedules, at their time.
    async fn keep_time(&self) {
        let mut ahead = Ahead::default();
        loop {
            let due = self.look_for_due().await;
            // Near its time a job is looked for at every poll: this clock may be behind the store's.
            let quiet = if due.is_some_and(|due| due < self.poll * (2 * QUIET)) { 1 } else { QUIET };
            let pause = ahead.pause(due, self.poll);
            let rest = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => self.clock.sleep(due.unwrap_or(Duration::MAX)).await,
                }
            };
            tokio::select! {
                () = rest => {}
                () = self.look.notified() => tokio::time::sleep(LOOK_APART).await,
                () = tokio::time::sleep(look_in(self.poll, quiet, &*self.jobs, &*self.entropy)) => {}
            }
        }
    }

    /// Claims whose holder vanished.
    async fn keep_claims(&self) {
        let mut at = self.clock.monotonic();
        loop {
            self.until(at).await;
            at = self.clock.monotonic() + self.jobs.lease() / RESCUES_PER_LEASE;
            self.report(self.jobs.rescue().await, "rescue");
        }
    }

    /// What nobody keeps any more.
    async fn keep_tidy(&self) {
        let mut at = self.clock.monotonic() + SWEEP_EVERY;
        loop {
            self.until(at).await;
            at = self.clock.monotonic() + SWEEP_EVERY;
            self.report(self.jobs.sweep().await, "sweep");
        }
    }

    /// Ends at a moment of the clock, which may be stepped between a look at it and the sleep that follows.
    async fn until(&self, at: Duration) {
        loop {
            let left = at.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return;
            }
            let _ = tokio::time::timeout(self.poll * QUIET, self.clock.sleep(left)).await;
        }
    }

    /// How long until the next job or schedule is due.
    async fn look_for_due(&self) -> Option<Duration> {
        let jobs = self.answer(self.jobs.promote_due().await, "promote due jobs");
        let schedules = self.answer(self.jobs.fire_schedules().await, "fire schedules");
        let next = [jobs, schedules].into_iter().flatten().min()?;
        Some(Duration::try_from(next.duration_since(self.clock.now())).unwrap_or(Duration::ZERO))
    }

    fn answer(&self, answer: Result<Option<Timestamp>>, doing: &str) -> Option<Timestamp> {
        answer.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to {doing}");
            None
        })
    }

    fn report(&self, answer: Result<u64>, doing: &str) {
        match answer {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "{doing}"),
            Err(error) => tracing::warn!(%error, "failed to {doing}"),
        }
    }
}

/// Looks in a row after which something was due by this process's clock, and not by the store's: this one is ahead, and
/// asking on and on would not make it due.
#[derive(Default)]
struct Ahead(u32);

impl Ahead {
    /// How long to rest before the next look: ever longer, up to a poll. `None`: until the time that is known.
    fn pause(&mut self, due: Option<Duration>, poll: Duration) -> Option<Duration> {
        if due != Some(Duration::ZERO) {
            self.0 = 0;
            return None;
        }
        let pause = LOOK_APART.saturating_mul(2_u32.saturating_pow(self.0));
        self.0 += 1;
        Some(pause.min(poll))
    }
}

/// When to look again without a signal: after a poll; after so many, where signals arrive. Less up to a quarter, so that
/// many processes do not look at once.
pub(crate) fn look_in(poll: Duration, quiet: u32, jobs: &dyn JobStore, entropy: &dyn Entropy) -> Duration {
    let polls = if jobs.hears() { quiet } else { 1 };
    (poll * polls).mul_f64(1.0 - 0.25 * entropy.unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_asks_ever_more_rarely() {
        let (mut ahead, poll) = (Ahead::default(), Duration::from_millis(10));
        let mut pause = |due| ahead.pause(due, poll).map(|pause| pause.as_millis());
        let due = Some(Duration::ZERO);
        assert_eq!([pause(due), pause(due), pause(due), pause(due)], [Some(2), Some(4), Some(8), Some(10)]);
        assert_eq!(pause(Some(Duration::from_secs(1))), None);
        assert_eq!(pause(due), Some(2));
        assert_eq!(pause(None), None);
    }
}
