//! Takes jobs for all queues of the process in one call, as many as there are free slots, and runs each in a task.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    context::CancelReason,
    executor::{Ended, JobExecutor},
    heart::Heart,
    held::Held,
    keeper::poll_with_jitter,
};
use crate::{
    claim::{ClaimRef, Claimed, Wake, Want},
    clock::Clock,
    entropy::Entropy,
    error::{Error, Result},
    limits::CLAIM_BATCH_MAX,
    name::QueueName,
    outcome::Settlement,
    store::JobStore,
};

/// One queue's slots in this process.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) concurrency: u32,
    /// Whether it takes jobs at all: started by `start`, or by `run`.
    pub(crate) active: bool,
    pub(crate) paused: bool,
    /// Written by the engine alone.
    pub(crate) running: u32,
    /// Whether the last claim filled every slot, so that there may be more.
    more: bool,
}

impl Lane {
    pub(crate) fn new(concurrency: u32) -> Self {
        Self { concurrency, active: false, paused: false, running: 0, more: false }
    }

    fn free(&self) -> u32 {
        if self.active && !self.paused { self.concurrency.saturating_sub(self.running) } else { 0 }
    }
}

/// Every queue's slots. Written by the manager (what is wanted) and the engine (what runs).
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: Mutex<HashMap<QueueName, Lane>>,
    /// Told after every change of what is wanted.
    pub(crate) changed: Notify,
}

impl Lanes {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<QueueName, Lane>> {
        // Every change is an assignment of one field: a panic leaves nothing half done.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one queue's lane, if it is known, and tells the engine.
    pub(crate) fn change(&self, queue: &QueueName, change: impl FnOnce(&mut Lane)) -> bool {
        let known = self.lock().get_mut(queue).map(change).is_some();
        self.changed.notify_one();
        known
    }

    fn wants(&self) -> Vec<Want> {
        let wants = |(queue, lane): (&QueueName, &Lane)| Want { queue: queue.clone(), at_most: lane.free() };
        self.lock().iter().map(wants).filter(|want| want.at_most > 0).collect()
    }

    fn queues(&self) -> Vec<QueueName> {
        self.lock().iter().filter(|(_, lane)| lane.active).map(|(queue, _)| queue.clone()).collect()
    }

    /// Answers whether the freed slot may have something to do.
    fn ended(&self, queue: &QueueName) -> bool {
        self.lock().get_mut(queue).is_some_and(|lane| {
            lane.running -= 1;
            lane.more
        })
    }

    fn claimed(&self, wants: &[Want], claimed: &[Claimed]) {
        let mut lanes = self.lock();
        for want in wants {
            let taken = claimed.iter().filter(|job| job.claim.queue == want.queue).count();
            if let Some(lane) = lanes.get_mut(&want.queue) {
                let taken = u32::try_from(taken).unwrap_or(u32::MAX);
                lane.running += taken;
                lane.more = taken >= want.at_most || claimed.len() >= CLAIM_BATCH_MAX as usize;
            }
        }
    }
}

/// Gives up a claim whose task panics: nobody runs its job any more, so nobody may beat for it.
struct Unwinding<'a> {
    held: &'a Held,
    claim: &'a ClaimRef,
}

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.held.drop_claim(self.claim);
        }
    }
}

pub(crate) struct Engine {
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) held: Arc<Held>,
    pub(crate) executor: Arc<JobExecutor>,
    pub(crate) finished: mpsc::Sender<Settlement>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) poll: Duration,
    pub(crate) heart: Arc<Mutex<Heart>>,
    pub(crate) keeper_look: Arc<Notify>,
    pub(crate) stop: CancellationToken,
}

/// How long a worker that stops waits for each answer of its store: past it, leases bring back what is left.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// An answer that a worker that stops does not wait for for ever.
pub(crate) async fn in_time(answer: impl Future<Output = Result<()>>) -> Result<()> {
    let late = |_| Err(Error::unavailable("worker", "stop in time", "the store did not answer"));
    tokio::time::timeout(STOP_PATIENCE, answer).await.unwrap_or_else(late)
}

type Waiting = Pin<Box<dyn Future<Output = Wake> + Send>>;

impl Engine {
    /// Takes and runs jobs until told to stop; then gives the running ones `grace` to end, which may be shortened
    /// meanwhile.
    pub(crate) async fn run(self, mut grace: watch::Receiver<Duration>) {
        let mut running = JoinSet::new();
        self.take_until_stopped(&mut running).await;
        self.held.fire_all(CancelReason::Stopping);
        let stopped_at = self.clock.monotonic();
        while !running.is_empty() {
            let allowed = *grace.borrow_and_update();
            let passed = self.clock.monotonic().saturating_sub(stopped_at);
            tokio::select! {
                biased;
                ended = running.join_next() => { if let Some(ended) = ended { self.note_end(ended); } }
                Ok(()) = grace.changed() => {}
                () = self.clock.sleep(allowed.saturating_sub(passed)) => break,
            }
        }
        if !running.is_empty() {
            tracing::warn!(jobs = running.len(), "jobs outlasted the grace; they go back to their queues");
        }
        // Not awaited: a handler that blocks its thread cannot be aborted, and its claim is given back all the same.
        running.abort_all();
    }

    async fn take_until_stopped(&self, running: &mut JoinSet<QueueName>) {
        let mut hungry = true;
        let mut waiting = self.register().await;
        loop {
            if hungry {
                hungry = self.take(running).await;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(ended) = running.join_next() => {
                    hungry |= self.note_end(ended);
                    while let Some(ended) = running.try_join_next() {
                        hungry |= self.note_end(ended);
                    }
                }
                wake = &mut waiting => {
                    self.woken(wake);
                    hungry = true;
                    waiting = self.register().await;
                }
                () = self.lanes.changed.notified() => {
                    hungry = true;
                    waiting = self.register().await;
                }
                () = tokio::time::sleep(poll_with_jitter(self.poll, &*self.entropy)) => hungry = true,
            }
        }
    }

    /// Registers for the next wake-up before the look that follows, so that nothing falls between the two.
    async fn register(&self) -> Waiting {
        let (jobs, queues) = (self.jobs.clone(), self.lanes.queues());
        let mut waiting: Waiting = Box::pin(async move { jobs.wait(&queues).await });
        let early = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx))).await;
        match early {
            std::task::Poll::Pending => waiting,
            std::task::Poll::Ready(wake) => Box::pin(std::future::ready(wake)),
        }
    }

    fn woken(&self, wake: Wake) {
        self.keeper_look.notify_one();
        if wake == Wake::Beat {
            self.heart.lock().unwrap_or_else(PoisonError::into_inner).poke();
        }
    }

    /// Claims for every free slot. Answers whether to look again at once: when it was the batch, not the slots, that
    /// was full.
    async fn take(&self, running: &mut JoinSet<QueueName>) -> bool {
        let wants = self.lanes.wants();
        if wants.is_empty() {
            return false;
        }
        let asked_at = self.clock.monotonic();
        let claimed = tokio::select! {
            biased;
            claimed = self.jobs.claim(&wants) => claimed,
            () = self.stopped_for(STOP_PATIENCE) => {
                tracing::warn!("the store did not answer a claim in time; what it took comes back by its lease");
                return false;
            }
        };
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "failed to claim");
                return false;
            }
        };
        if self.stop.is_cancelled() {
            self.give_back(claimed).await;
            return false;
        }
        self.lanes.claimed(&wants, &claimed);
        let capped = claimed.len() >= CLAIM_BATCH_MAX as usize;
        for job in claimed {
            self.start(job, asked_at, running);
        }
        capped
    }

    async fn stopped_for(&self, patience: Duration) {
        self.stop.cancelled().await;
        tokio::time::sleep(patience).await;
    }

    /// Claims whose answer came after the stop.
    async fn give_back(&self, claimed: Vec<Claimed>) {
        let claims: Vec<_> = claimed.into_iter().map(|job| job.claim).collect();
        if claims.is_empty() {
            return;
        }
        if let Err(error) = in_time(self.jobs.release(&claims)).await {
            tracing::warn!(%error, jobs = claims.len(), "failed to give back what a stopping worker took");
        }
    }

    fn start(&self, job: Claimed, asked_at: Duration, running: &mut JoinSet<QueueName>) {
        let cancellation = self.held.take(&job.claim, asked_at);
        let (executor, held, finished) = (self.executor.clone(), self.held.clone(), self.finished.clone());
        let (jobs, clock) = (self.jobs.clone(), self.clock.clone());
        running.spawn(async move {
            let (queue, claim) = (job.claim.queue.clone(), job.claim.clone());
            let _unwinding = Unwinding { held: &held, claim: &claim };
            if !held.trusts(&claim, clock.monotonic()) {
                tracing::warn!(job = %claim, "not started: the lease ran out before its turn");
                held.drop_claim(&claim);
                return queue;
            }
            match executor.attempt(job, cancellation).await {
                // Fails only when the settler is gone: then the claim is given back by the manager.
                Ended::Settle(settlement) => drop(finished.send(settlement).await),
                Ended::Release(claim) => match jobs.release(std::slice::from_ref(&claim)).await {
                    Ok(()) => held.drop_claim(&claim),
                    Err(error) => tracing::warn!(job = %claim, %error, "failed to give back an interrupted job"),
                },
            }
            queue
        });
    }

    fn note_end(&self, ended: std::result::Result<QueueName, tokio::task::JoinError>) -> bool {
        match ended {
            Ok(queue) => self.lanes.ended(&queue),
            // Handlers' panics are caught; this is one of ours. The slot is lost, the claim runs out.
            Err(error) => {
                tracing::error!(%error, "a worker task failed");
                false
            }
        }
    }
}
