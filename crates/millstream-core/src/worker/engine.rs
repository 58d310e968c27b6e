//! Takes jobs for all queues of the process in one call, and runs them in as many tasks as there are slots. What is
//! taken ahead of its slot waits in its queue's lane, from where a task that is done with a job takes the next.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
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
    keeper::look_in,
    lanes::{Lanes, Next, Ready},
    siblings::Finished,
};
use crate::{
    claim::{ClaimRef, Claimed, Wake, Want},
    clock::Clock,
    entropy::Entropy,
    error::{Error, Result},
    limits::CLAIM_BATCH_MAX,
    store::JobStore,
};

pub(crate) struct Engine {
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) held: Arc<Held>,
    pub(crate) executor: Arc<JobExecutor>,
    pub(crate) finished: mpsc::Sender<Finished>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) poll: Duration,
    pub(crate) heart: Arc<Mutex<Heart>>,
    pub(crate) keeper_look: Arc<Notify>,
    pub(crate) stop: CancellationToken,
}

/// How long a worker that stops waits for each answer of its store: past it, leases bring back what is left.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Polls between two looks for ready jobs, where wake-ups arrive: only what was enqueued without one waits so long.
const QUIET: u32 = 4;

/// An answer that a worker that stops does not wait for for ever.
pub(crate) async fn in_time(answer: impl Future<Output = Result<()>>) -> Result<()> {
    let late = |_| Err(Error::unavailable("worker", "stop in time", "the store did not answer"));
    tokio::time::timeout(STOP_PATIENCE, answer).await.unwrap_or_else(late)
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

type Waiting = Pin<Box<dyn Future<Output = Wake> + Send>>;

/// Claims under way at once: while the answer of one is read and its jobs run, the store works on the next.
const CLAIMS: usize = 2;

/// A claim under way.
type Claiming = Pin<Box<dyn Future<Output = Asked> + Send>>;

/// The claims under way, in the order in which they were sent.
#[derive(Default)]
struct Claims(VecDeque<(Claiming, Option<Asked>)>);

/// What was asked for, when, and what came of it.
struct Asked {
    wants: Vec<Want>,
    at: Duration,
    claimed: Result<Vec<Claimed>>,
}

impl Claims {
    fn has_room(&self) -> bool {
        self.0.len() < CLAIMS
    }

    fn are_any(&self) -> bool {
        !self.0.is_empty()
    }

    fn push(&mut self, claiming: Claiming) {
        self.0.push_back((claiming, None));
    }

    /// The next answer, in the order of the claims; all of them go on meanwhile. Never ends while there are none.
    async fn answer(&mut self) -> Asked {
        std::future::poll_fn(|cx| {
            for (claiming, asked) in self.0.iter_mut().filter(|(_, asked)| asked.is_none()) {
                if let Poll::Ready(answer) = claiming.as_mut().poll(cx) {
                    *asked = Some(answer);
                }
            }
            let first = self.0.front_mut().and_then(|(_, asked)| asked.take());
            match first {
                Some(asked) => {
                    self.0.pop_front();
                    Poll::Ready(asked)
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Engine {
    /// Takes and runs jobs until told to stop; then gives the running ones `grace` to end, which may be shortened
    /// meanwhile.
    pub(crate) async fn run(self, mut grace: watch::Receiver<Duration>) {
        let mut running = JoinSet::new();
        let claims = self.take_until_stopped(&mut running).await;
        let waiting = self.lanes.close();
        self.held.fire_all(CancelReason::Stopping);
        self.give_back(waiting).await;
        self.give_back_late(claims).await;
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

    /// What claims take that were under way when the worker was told to stop.
    async fn give_back_late(&self, mut claims: Claims) {
        let mut late = Vec::new();
        let answers = async {
            while claims.are_any() {
                match claims.answer().await.claimed {
                    Ok(claimed) => late.extend(claimed.into_iter().map(|job| job.claim)),
                    Err(error) => tracing::warn!(%error, "failed to claim"),
                }
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, answers).await.is_err() {
            tracing::warn!("the store did not answer a claim in time; what it took comes back by its lease");
        }
        self.give_back(late).await;
    }

    /// Answers the claims that are under way when it is told to stop.
    async fn take_until_stopped(&self, running: &mut JoinSet<()>) -> Claims {
        let mut hungry = true;
        // A look while a claim is under way asks for what that one does not ask for, so it does not count for the rest.
        let mut again = false;
        let mut waiting = self.register().await;
        let mut claims = Claims::default();
        loop {
            if hungry && claims.has_room() {
                (hungry, again) = (false, claims.are_any());
                if let Some(claiming) = self.ask() {
                    claims.push(claiming);
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return claims,
                asked = claims.answer() => {
                    hungry |= self.take(asked, running) | std::mem::take(&mut again);
                    // Paused while the claim was under way.
                    self.give_back(self.lanes.take_paused()).await;
                }
                Some(ended) = running.join_next() => {
                    self.note_end(ended);
                    while let Some(ended) = running.try_join_next() {
                        self.note_end(ended);
                    }
                }
                wake = &mut waiting => {
                    self.woken(wake);
                    hungry = true;
                    waiting = self.register().await;
                }
                () = self.lanes.low.notified() => hungry = true,
                () = self.lanes.changed.notified() => {
                    hungry = true;
                    self.give_back(self.lanes.take_paused()).await;
                    self.fill_slots(running);
                    waiting = self.register().await;
                }
                () = self.lanes.hoarding() => self.give_back(self.lanes.take_hoarded()).await,
                () = tokio::time::sleep(look_in(self.poll, QUIET, &*self.jobs, &*self.entropy)) => hungry = true,
            }
        }
    }

    /// Registers for the next wake-up before the look that follows, so that nothing falls between the two.
    async fn register(&self) -> Waiting {
        let (jobs, queues) = (self.jobs.clone(), self.lanes.queues());
        let mut waiting: Waiting = Box::pin(async move { jobs.wait(&queues).await });
        let early = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
        match early {
            Poll::Pending => waiting,
            Poll::Ready(wake) => Box::pin(std::future::ready(wake)),
        }
    }

    fn woken(&self, wake: Wake) {
        self.keeper_look.notify_one();
        if wake == Wake::Beat {
            self.heart.lock().unwrap_or_else(PoisonError::into_inner).poke();
        }
    }

    /// Asks for what the lanes have room for, if they have any.
    fn ask(&self) -> Option<Claiming> {
        let wants = self.lanes.wants();
        if wants.is_empty() {
            return None;
        }
        let (jobs, at) = (self.jobs.clone(), self.clock.monotonic());
        Some(Box::pin(async move {
            let claimed = jobs.claim(&wants).await;
            Asked { wants, at, claimed }
        }))
    }

    /// Lays what was claimed into its lanes, and starts what has a slot. Answers whether to look again at once: when
    /// it was the batch, not the lanes, that was full.
    fn take(&self, asked: Asked, running: &mut JoinSet<()>) -> bool {
        let claimed = match asked.claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "failed to claim");
                self.lanes.refused(&asked.wants);
                return false;
            }
        };
        let capped = claimed.len() >= CLAIM_BATCH_MAX as usize;
        let ready = claimed.into_iter().map(|job| (self.held.take(&job.claim, asked.at), job)).collect();
        self.lanes.claimed(&asked.wants, ready);
        self.fill_slots(running);
        capped
    }

    /// A task for each free slot that has a job waiting.
    fn fill_slots(&self, running: &mut JoinSet<()>) {
        for first in self.lanes.starts() {
            let slot = Slot {
                jobs: self.jobs.clone(),
                lanes: self.lanes.clone(),
                held: self.held.clone(),
                executor: self.executor.clone(),
                finished: self.finished.clone(),
                clock: self.clock.clone(),
            };
            running.spawn(slot.run(first));
        }
    }

    /// Claims whose jobs did not start: ready again, no attempt burned.
    async fn give_back(&self, claims: Vec<ClaimRef>) {
        if claims.is_empty() {
            return;
        }
        match in_time(self.jobs.release(&claims)).await {
            Ok(()) => claims.iter().for_each(|claim| self.held.drop_claim(claim)),
            // Beaten for no more: they come back by their lease.
            Err(error) => {
                tracing::warn!(%error, jobs = claims.len(), "failed to give back what did not start");
                claims.iter().for_each(|claim| self.held.drop_claim(claim));
            }
        }
    }

    fn note_end(&self, ended: std::result::Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            // Handlers' panics are caught; this is one of ours. The slot is lost, the claim runs out.
            tracing::error!(%error, "a worker task failed");
        }
    }
}

/// One job after the other, while its lane has some.
struct Slot {
    jobs: Arc<dyn JobStore>,
    lanes: Arc<Lanes>,
    held: Arc<Held>,
    executor: Arc<JobExecutor>,
    finished: mpsc::Sender<Finished>,
    clock: Arc<dyn Clock>,
}

impl Slot {
    async fn run(self, first: Ready) {
        let queue = first.job.claim.queue.clone();
        let mut next = Some(first);
        while let Some(ready) = next {
            let began = self.lanes.now();
            let group = ready.job.group.as_ref().map(|group| group.id.clone());
            self.attempt(ready).await;
            next = match self.lanes.ended(&queue, group.as_ref(), began) {
                Next::Job(ready) => Some(*ready),
                Next::None => None,
            };
        }
    }

    async fn attempt(&self, Ready { job, cancellation, siblings, .. }: Ready) {
        let claim = job.claim.clone();
        let _unwinding = Unwinding { held: &self.held, claim: &claim };
        if !self.held.trusts(&job.claim, self.clock.monotonic()) {
            // The store may still keep it for us: then it need not wait for the end of its lease.
            tracing::warn!(job = %job.claim, "not started: the lease ran out before its turn");
            return self.release(&job.claim).await;
        }
        match cancellation.reason() {
            Some(CancelReason::ClaimLost) => return self.held.drop_claim(&job.claim),
            // Told while it waited for its slot: the store makes it cancelled.
            Some(CancelReason::Cancelled) => return self.release(&job.claim).await,
            _ => {}
        }
        match self.executor.attempt(job, cancellation).await {
            // Fails only when the settler is gone: then the claim is given back by the manager.
            Ended::Settle(settlement) => drop(self.finished.send(Finished { settlement, siblings }).await),
            Ended::Settled(check) => {
                // No beat for it any more: the store knows the claim no longer.
                self.held.drop_claim(&claim);
                drop(self.finished.send(Finished { settlement: check, siblings: None }).await);
            }
            Ended::Release(claim) => self.release(&claim).await,
        }
    }

    async fn release(&self, claim: &ClaimRef) {
        if let Err(error) = self.jobs.release(std::slice::from_ref(claim)).await {
            tracing::warn!(job = %claim, %error, "failed to give back a job; it comes back by its lease");
        }
        self.held.drop_claim(claim);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A claim that is answered when the sender says how many queues it was for.
    fn claiming() -> (oneshot::Sender<usize>, Claiming) {
        let (answer, answered) = oneshot::channel();
        let claiming = Box::pin(async move {
            let queue = crate::QueueName::new("q").unwrap();
            let wants = vec![Want::new(queue, 1); answered.await.unwrap()];
            Asked { wants, at: Duration::ZERO, claimed: Ok(Vec::new()) }
        });
        (answer, claiming)
    }

    #[tokio::test]
    async fn claims_are_answered_in_their_order() {
        let mut claims = Claims::default();
        let ((first, claim), (second, next)) = (claiming(), claiming());
        claims.push(claim);
        assert!(claims.has_room());
        claims.push(next);
        assert!(!claims.has_room());
        second.send(2).unwrap();
        tokio::select! {
            biased;
            _ = claims.answer() => panic!("the first was not answered"),
            () = std::future::ready(()) => {}
        }
        first.send(1).unwrap();
        assert_eq!(claims.answer().await.wants.len(), 1);
        assert_eq!(claims.answer().await.wants.len(), 2);
        assert!(!claims.are_any());
    }
}
