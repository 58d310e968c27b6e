//! What a case works in: a fresh store, its time, and the short words that cases are written with.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    broken::{self, Breakage},
    case::{Checked, Failure, ensure},
    harness::{Backend, Harness},
};
use crate::{
    Append, Appended, Backoff, ClaimRef, Claimed, Effects, Enqueued, Entropy, Error, Event, EventQuery, EventStore,
    Job, JobCounts, JobId, JobName, JobOptions, JobState, JobStore, JobsQuery, ManualClock, NewEvent, NewJob, Outcome,
    Pattern, QueueDefaults, QueueName, QueueProvider, Result, SeededEntropy, Settlement, Signals, StateStore,
    StoreOptions, Stores, StreamName, Timestamp, Verdict, Want, Work, clock::Clock,
};

/// The lease of the suite's stores.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// A muted store looks this often: short, so that a muted run is not a slow one.
const POLL: Duration = Duration::from_millis(10);
/// The queue whose defaults differ from the base.
pub(super) const TUNED: &str = "tuned";

/// One connection to a store: what one process has.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) queue: Arc<dyn QueueProvider>,
    pub(super) jobs: Arc<dyn JobStore>,
    pub(super) events: Arc<dyn EventStore>,
    pub(super) state: Arc<dyn StateStore>,
}

/// How a trial runs a case.
#[derive(Clone)]
pub(super) struct Mode {
    pub(super) signals: Signals,
    /// How long a case waits, in real time, for what must come.
    pub(super) patience: Duration,
    pub(super) breakage: Option<Arc<Breakage>>,
}

/// A fresh store and its time. Reads as its first handle.
pub(super) struct World {
    first: Handle,
    harness: Arc<dyn Harness>,
    backend: Box<dyn Backend>,
    clock: ManualClock,
    pub(super) entropy: Arc<SeededEntropy>,
    mode: Mode,
    /// Worlds that the case opened beside this one; finished with it.
    beside: Mutex<Vec<Arc<World>>>,
}

impl World {
    pub(super) async fn open(harness: Arc<dyn Harness>, mode: Mode, seed: u64) -> Checked<Self> {
        Self::open_with(harness, mode, seed, |_| {}).await
    }

    async fn open_with(
        harness: Arc<dyn Harness>,
        mode: Mode,
        seed: u64,
        change: impl FnOnce(&mut StoreOptions) + Send,
    ) -> Checked<Self> {
        let start: Timestamp = "2026-11-21T12:00:30Z".parse()?;
        let clock = ManualClock::new(start);
        let entropy = Arc::new(SeededEntropy::new(seed));
        let mut options = StoreOptions {
            clock: Arc::new(clock.clone()),
            entropy: entropy.clone(),
            lease: LEASE,
            defaults: defaults(),
            signals: mode.signals,
            poll: POLL,
            ..StoreOptions::default()
        };
        change(&mut options);
        let backend = harness.open(options).await?;
        let first = mode.wrap(Handle::of(backend.stores())?);
        Ok(Self { first, harness, backend, clock, entropy, mode, beside: Mutex::default() })
    }

    /// Another isolated store, opened with other options.
    pub(super) async fn another(&self, change: impl FnOnce(&mut StoreOptions) + Send) -> Checked<Arc<Self>> {
        let world = Self::open_with(self.harness.clone(), self.mode.clone(), self.entropy.next_u64(), change).await?;
        let world = Arc::new(world);
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).push(world.clone());
        Ok(world)
    }

    /// The same data as another process has it.
    pub(super) async fn second(&self) -> Checked<Handle> {
        Ok(self.mode.wrap(Handle::of(self.backend.second().await?)?))
    }

    /// Closes everything and opens the same data again.
    pub(super) async fn reopen(&self) -> Checked<Handle> {
        self.queue.close().await?;
        Ok(self.mode.wrap(Handle::of(self.backend.reopen().await?)?))
    }

    /// The first handle, whose next so many commits of groups fail for the moment.
    pub(super) fn unwilling(&self, times: u32) -> Handle {
        broken::wrap(self.first.clone(), Arc::new(Breakage::unwilling(times)))
    }

    /// The first handle, whose sweeps never end; and word of the first that begins.
    pub(super) fn sweeping(&self) -> (Handle, watch::Receiver<bool>) {
        let (told, begun) = watch::channel(false);
        (broken::wrap(self.first.clone(), Arc::new(Breakage::sweeping(told))), begun)
    }

    /// The first handle, where whoever consumes by it crashes at its nth write, before or after it; and word of that.
    pub(super) fn crashing(&self, nth: u32, after: bool) -> (Handle, watch::Receiver<bool>) {
        let (told, crashed) = watch::channel(false);
        (broken::wrap(self.first.clone(), Arc::new(Breakage::crashing(nth, after, told))), crashed)
    }

    /// The clock of the options, which moves with the store's.
    pub(super) fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    /// Moves the store's time.
    pub(super) async fn advance(&self, by: Duration) -> Checked {
        // The clock first: what becomes due by the store's time is then claimed with the trust of a whole lease. Who is
        // woken by the clock may find the store's time not moved yet; a second step tells him.
        self.clock.advance(by);
        Ok(self.backend.advance(by).await?)
    }

    /// Removes the log's events below a position, as retention does.
    pub(super) async fn truncate(&self, first: u64) -> Checked {
        Ok(self.backend.truncate(first).await?)
    }

    /// The store's time.
    pub(super) async fn now(&self) -> Checked<Timestamp> {
        Ok(self.backend.now().await?.unwrap_or_else(|| self.clock.now()))
    }

    /// Waits, in real time and not for ever, for what must come.
    pub(super) async fn within<T>(&self, what: &str, coming: impl Future<Output = T> + Send) -> Checked<T> {
        let waited = tokio::time::timeout(self.mode.patience, coming).await;
        waited.map_err(|_| Failure::new(format_args!("waited {:?} in vain for {what}", self.mode.patience)))
    }

    /// Closes every seam of the first handle.
    pub(super) async fn close(&self) -> Checked {
        self.queue.close().await?;
        self.events.close().await?;
        Ok(self.state.close().await?)
    }

    /// Closes the store and leaves nothing behind.
    pub(super) async fn finish(&self) -> Checked {
        let beside = std::mem::take(&mut *self.beside.lock().unwrap_or_else(PoisonError::into_inner));
        for world in beside {
            world.backend.finish().await?;
        }
        Ok(self.backend.finish().await?)
    }
}

impl Deref for World {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.first
    }
}

impl Mode {
    fn wrap(&self, handle: Handle) -> Handle {
        match &self.breakage {
            Some(breakage) => broken::wrap(handle, breakage.clone()),
            None => handle,
        }
    }
}

/// An hour of timeout everywhere; more of everything in the queue [`TUNED`].
fn defaults() -> QueueDefaults {
    let base = JobOptions { timeout: Some(Duration::from_secs(3600)), ..JobOptions::default() };
    let tuned = JobOptions {
        attempts: Some(7),
        backoff: Some(Backoff::fixed(Duration::from_secs(5))),
        priority: Some(-3),
        delay: Some(Duration::from_secs(60)),
        ..JobOptions::default()
    };
    QueueDefaults { base, queues: [(queue(TUNED), tuned)].into() }
}

pub(super) fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a valid queue name")
}

/// The queue of cases that need only one.
pub(super) fn q() -> QueueName {
    queue("q")
}

pub(super) fn id(text: &str) -> JobId {
    JobId::new(text).expect("a valid job id")
}

pub(super) fn stream(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid stream name")
}

pub(super) fn pattern(text: &str) -> Pattern {
    Pattern::new(text).expect("a valid pattern")
}

/// A job of the queue `q`.
pub(super) fn job() -> NewJob {
    job_in("q")
}

pub(super) fn job_in(name: &str) -> NewJob {
    NewJob::new(queue(name), JobName::new("work").expect("a valid job name"), json!({ "n": 1 }))
}

/// Jobs with the ids `0`, `1`, and so on.
pub(super) fn numbered(count: usize) -> Vec<NewJob> {
    (0..count).map(|n| job().id(id(&n.to_string()))).collect()
}

pub(super) fn event(kind: &str) -> NewEvent {
    NewEvent::new(kind, Value::Null)
}

pub(super) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn done() -> Outcome {
    Outcome::Done(json!("done"))
}

/// A failed attempt whose wait the handler leaves to the backoff.
pub(super) fn failed() -> Outcome {
    Outcome::Retry { error: json!("failed"), after: None }
}

/// A failed attempt that may run again at once.
pub(super) fn again() -> Outcome {
    Outcome::Retry { error: json!("failed"), after: Some(Duration::ZERO) }
}

pub(super) fn ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.claim.job.as_str()).collect()
}

impl Handle {
    fn of(stores: Stores) -> Result<Self> {
        match stores.queue.work() {
            Work::Shared(jobs) => {
                let jobs = stores.join(jobs);
                Ok(Self { queue: stores.queue, jobs, events: stores.events, state: stores.state })
            }
            Work::Own(_) => Err(Error::Unsupported { store: stores.queue.kind(), what: "the shared worker runtime" }),
        }
    }

    /// Enqueues one job, which must be new.
    pub(super) async fn add(&self, job: NewJob) -> Checked<JobId> {
        let mut added = self.add_all(vec![job]).await?;
        added.pop().ok_or_else(|| Failure::new("enqueue answered nothing"))
    }

    /// Enqueues a batch of jobs, which must all be new.
    pub(super) async fn add_all(&self, jobs: Vec<NewJob>) -> Checked<Vec<JobId>> {
        let answers = self.queue.enqueue(&jobs).await?;
        ensure!(answers.len() == jobs.len(), "{} jobs got {} answers", jobs.len(), answers.len());
        ensure!(answers.iter().all(Enqueued::is_created), "not every job is new: {answers:?}");
        Ok(answers.iter().map(|answer| answer.id().clone()).collect())
    }

    /// Claims at most so many jobs of one queue.
    pub(super) async fn claim(&self, queue: &QueueName, at_most: u32) -> Checked<Vec<Claimed>> {
        Ok(self.jobs.claim(&[Want::new(queue.clone(), at_most)]).await?)
    }

    /// Claims the one job that is ready in the queue `q`.
    pub(super) async fn take(&self) -> Checked<Claimed> {
        let mut claimed = self.claim(&q(), 1).await?;
        ensure!(claimed.len() == 1, "one job is ready, claimed were {:?}", ids(&claimed));
        claimed.pop().ok_or_else(|| Failure::new("unreachable"))
    }

    /// Nothing is ready in the queue `q`.
    pub(super) async fn nothing_ready(&self, why: &str) -> Checked {
        self.jobs.promote_due().await?;
        let claimed = self.claim(&q(), 10).await?;
        ensure!(claimed.is_empty(), "{why}, yet {:?} could be claimed", ids(&claimed));
        Ok(())
    }

    pub(super) async fn settle_with(&self, claim: &ClaimRef, outcome: Outcome, effects: Effects) -> Checked<Verdict> {
        let settlement = Settlement { claim: claim.clone(), outcome, effects };
        let mut verdicts = self.jobs.settle(&[settlement]).await?;
        ensure!(verdicts.len() == 1, "one settlement got {} verdicts", verdicts.len());
        verdicts.pop().ok_or_else(|| Failure::new("unreachable"))
    }

    /// Settles a claim that holds.
    pub(super) async fn settle(&self, claimed: &Claimed, outcome: Outcome) -> Checked<JobState> {
        match self.settle_with(&claimed.claim, outcome, Effects::default()).await? {
            Verdict::Settled(state) => Ok(state),
            other => Err(Failure::new(format_args!("the claim holds, yet its settle got {other:?}"))),
        }
    }

    /// A settle of this claim must be refused, and change nothing of the job.
    pub(super) async fn refused(&self, claimed: &Claimed) -> Checked {
        let claim = &claimed.claim;
        let before = self.queue.job(&claim.queue, &claim.job).await?;
        let late = Outcome::Done(json!("late"));
        let verdict = self.settle_with(claim, late, Effects::default()).await?;
        ensure!(matches!(verdict, Verdict::LostClaim), "a lost claim's settle got {verdict:?}");
        let after = self.queue.job(&claim.queue, &claim.job).await?;
        ensure!(before == after, "a refused settle changed the job from {before:?} to {after:?}");
        Ok(())
    }

    /// A job that must be there.
    pub(super) async fn look(&self, id: &JobId) -> Checked<Job> {
        self.look_in(&q(), id).await
    }

    pub(super) async fn look_in(&self, queue: &QueueName, id: &JobId) -> Checked<Job> {
        let found = self.queue.job(queue, id).await?;
        found.ok_or_else(|| Failure::new(format_args!("the job {queue}/{id} is gone")))
    }

    /// The state of a job of the queue `q`.
    pub(super) async fn state_of(&self, id: &JobId) -> Checked<JobState> {
        Ok(self.look(id).await?.state)
    }

    pub(super) async fn counts(&self) -> Checked<JobCounts> {
        Ok(self.queue.counts(&q()).await?)
    }

    /// Every job of a listing, page by page.
    pub(super) async fn list(&self, mut query: JobsQuery) -> Checked<Vec<Job>> {
        let mut all = Vec::new();
        loop {
            let page = self.queue.jobs(&query).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Brings a job of the queue `q` into a state. No other job of it may be ready.
    pub(super) async fn bring(&self, id: &JobId, state: JobState) -> Checked<Option<Claimed>> {
        let new = job().id(id.clone());
        if state == JobState::Delayed {
            self.add(new.delay(secs(600))).await?;
            return Ok(None);
        }
        self.add(new).await?;
        if state == JobState::Waiting {
            return Ok(None);
        }
        let claimed = self.take().await?;
        let outcome = match state {
            JobState::Completed => done(),
            JobState::Failed => Outcome::Fail(json!("failed")),
            JobState::Cancelled => Outcome::Cancel(json!("cancelled")),
            JobState::Active | JobState::Waiting | JobState::Delayed => return Ok(Some(claimed)),
        };
        self.settle(&claimed, outcome).await?;
        Ok(Some(claimed))
    }

    /// Appends one event.
    pub(super) async fn append(&self, name: &str, kind: &str) -> Checked<Appended> {
        let mut answers = self.events.append(&[Append::one(stream(name), event(kind))]).await?;
        ensure!(answers.len() == 1, "one append got {} answers", answers.len());
        answers.pop().ok_or_else(|| Failure::new("unreachable"))
    }

    /// Every event of a pattern, page by page, but for the records of split stores.
    pub(super) async fn log(&self, text: &str) -> Checked<Vec<Event>> {
        let mut query = EventQuery { limit: 500, ..EventQuery::of(pattern(text)) };
        let mut all: Vec<Event> = Vec::new();
        loop {
            let page = self.events.query(&query).await?;
            let Some(last) = page.last() else { return Ok(all) };
            ensure!(query.after < Some(last.id), "a page of the log ends before it begins");
            query.after = Some(last.id);
            all.extend(page.into_iter().filter(|event| !event.stream.as_str().starts_with("nq:settle:")));
        }
    }
}
