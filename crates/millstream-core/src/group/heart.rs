//! The heartbeat of a consumer, on an OS thread with a runtime of its own: a handler that blocks every worker thread
//! does not cost it its partitions.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    held::Held,
    partition::{Member, MemberView},
};
use crate::{
    clock::Clock,
    error::{Error, Result},
    store::GroupStore,
    worker::CancelReason,
};

/// Beats a lease, at least: two may fail before a partition is in danger.
const BEATS_PER_LEASE: u32 = 3;
/// After a beat that failed, the next is tried this much sooner.
const HURRY: u32 = 4;

/// How long a stop waits for a beat under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What the last beat brought.
#[derive(Clone)]
pub(super) enum Seen {
    /// What the store answered.
    View(Arc<MemberView>),
    /// The group or the store is gone.
    Ended(Error),
}

pub(super) struct Heart {
    stop: CancellationToken,
    /// Fires when the thread has made its last beat.
    ended: CancellationToken,
}

pub(super) struct Beating {
    pub(super) store: Arc<dyn GroupStore>,
    pub(super) member: Member,
    pub(super) held: Arc<Held>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    pub(super) seen: watch::Sender<Seen>,
}

impl Heart {
    pub(super) fn start(beating: Beating) -> Result<Self> {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let failed = |error: std::io::Error| Error::unavailable("consumer", "start the heartbeat", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stopping, last) = (stop.clone(), ended.clone().drop_guard());
        std::thread::Builder::new()
            .name("millstream-group".to_owned())
            .spawn(move || {
                runtime.block_on(beating.run(stopping));
                drop(last);
            })
            .map_err(failed)?;
        Ok(Self { stop, ended })
    }

    /// Stops beating when the answer is dropped.
    pub(super) fn stop_with(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    /// Ends the thread, and waits for a beat under way: one that came behind the member's leaving would register it
    /// again, for a whole lease.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_PATIENCE, self.ended.cancelled()).await.is_err() {
            tracing::warn!("a consumer's last beat takes long: its share stays taken for a lease");
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        // Not waited for: a drop may happen on a thread that the beat's store needs.
        self.stop.cancel();
    }
}

impl Beating {
    async fn run(self, stop: CancellationToken) {
        let interval = self.lease / BEATS_PER_LEASE;
        let mut beaten = true;
        loop {
            let hurry = if beaten { 1 } else { HURRY };
            tokio::select! {
                () = stop.cancelled() => return,
                // Real time, so that members see each other whatever the clock of leases does.
                () = tokio::time::sleep(self.poll.min(interval) / hurry) => {}
                () = self.clock.sleep(interval / hurry) => {}
                () = self.distrusting() => continue,
            }
            beaten = tokio::select! {
                beaten = self.beat() => beaten,
                // Keeps distrusting while a beat hangs; never ends.
                () = self.distrusting_for_ever() => false,
            };
        }
    }

    /// Ends when a partition stopped being trusted.
    async fn distrusting(&self) {
        let now = self.clock.monotonic();
        match self.held.distrust(now) {
            Some(until) => self.clock.sleep(until - now).await,
            None => std::future::pending().await,
        }
    }

    async fn distrusting_for_ever(&self) {
        loop {
            let now = self.clock.monotonic();
            let wait = self.held.distrust(now).map_or(self.lease, |until| until - now);
            self.clock.sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    async fn beat(&self) -> bool {
        let held = self.held.all();
        let asked_at = self.clock.monotonic();
        match self.store.beat_member(&self.member, &held).await {
            Ok(view) => {
                let kept: Vec<_> = held.iter().filter(|held| !view.lost.contains(held)).copied().collect();
                self.held.renew(&kept, asked_at);
                view.lost.iter().for_each(|lost| self.held.fire(*lost, CancelReason::ClaimLost));
                self.seen.send_replace(Seen::View(Arc::new(view)));
                true
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, held = held.len(), "failed to beat");
                false
            }
            Err(error) => {
                self.seen.send_replace(Seen::Ended(error));
                false
            }
        }
    }
}
