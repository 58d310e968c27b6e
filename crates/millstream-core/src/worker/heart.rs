//! The heartbeat, on an OS thread with a runtime of its own: a handler that blocks every worker thread, or starves
//! the process's runtime, does not cost it its claims.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{context::CancelReason, held::Held};
use crate::{
    claim::Signal,
    clock::Clock,
    error::{Error, Result},
    store::JobStore,
};

/// Beats a lease: two may fail before a claim is in danger.
const BEATS_PER_LEASE: u32 = 3;
/// After a beat that failed, the next is tried this much sooner.
const HURRY: u32 = 4;

pub(crate) struct Heart {
    stop: CancellationToken,
    poke: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

struct Beating {
    jobs: Arc<dyn JobStore>,
    held: Arc<Held>,
    clock: Arc<dyn Clock>,
    /// When the first beat is due, counted from the start and not from when the thread got its turn.
    first_at: Duration,
    stop: CancellationToken,
    poke: Arc<Notify>,
}

impl Heart {
    pub(crate) fn start(jobs: Arc<dyn JobStore>, held: Arc<Held>, clock: Arc<dyn Clock>) -> Result<Self> {
        let (stop, poke) = (CancellationToken::new(), Arc::new(Notify::new()));
        let first_at = clock.monotonic() + jobs.lease() / BEATS_PER_LEASE;
        let beating = Beating { jobs, held, clock, first_at, stop: stop.clone(), poke: poke.clone() };
        let failed = |error: std::io::Error| Error::unavailable("worker", "start the heartbeat", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("millstream-heart".to_owned())
            .spawn(move || runtime.block_on(beating.run()))
            .map_err(failed)?;
        Ok(Self { stop, poke, thread: Some(thread) })
    }

    /// Beats at once: a cancellation may be waiting.
    pub(crate) fn poke(&self) {
        self.poke.notify_one();
    }

    /// Stops beating when the answer is dropped, unless it was disarmed.
    pub(crate) fn stop_with(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    /// Ends the thread. It never waits for a beat in flight: its claims are settled or released by now.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the heartbeat thread panicked");
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        // Not joined: a drop may happen on a thread that the beat's store needs.
        self.stop.cancel();
    }
}

impl Beating {
    async fn run(self) {
        let interval = self.jobs.lease() / BEATS_PER_LEASE;
        let mut beat_at = self.first_at;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.poke.notified() => {}
                () = self.clock.sleep_until(beat_at) => {}
                () = self.distrusting() => continue,
            }
            let asked_at = self.clock.monotonic();
            let beaten = tokio::select! {
                () = self.stop.cancelled() => return,
                beaten = self.beat() => beaten,
                // Keeps distrusting while a beat hangs; never ends.
                () = self.distrusting_for_ever() => false,
            };
            beat_at = asked_at + if beaten { interval } else { interval / HURRY };
        }
    }

    /// Ends when a claim stopped being trusted.
    async fn distrusting(&self) {
        let now = self.clock.monotonic();
        match self.held.distrust(now) {
            Some(until) => self.clock.sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    async fn distrusting_for_ever(&self) {
        loop {
            let now = self.clock.monotonic();
            let wait = self.held.distrust(now).map_or(self.jobs.lease(), |until| until - now);
            self.clock.sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    async fn beat(&self) -> bool {
        let held = self.held.all();
        if held.is_empty() {
            return true;
        }
        let asked_at = self.clock.monotonic();
        match self.jobs.beat(&held).await {
            Ok(signals) => {
                self.held.renew(&held, asked_at);
                for (claim, signal) in signals {
                    let reason = match signal {
                        Signal::Lost => CancelReason::ClaimLost,
                        Signal::Cancel => CancelReason::Cancelled,
                    };
                    tracing::info!(job = %claim, "{reason}");
                    self.held.fire(&claim, reason);
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, held = held.len(), "failed to beat");
                false
            }
        }
    }
}
