//! A queue in one file, its events and state in another: a crash between any two writes neither loses nor doubles.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    Append, Capabilities, ClaimRef, Claimed, Effects, Error, EventQuery, EventStore, JobId, JobName, JobState,
    JobStore, ManualClock, NewEvent, NewJob, Outcome, Pattern, Progress, Queue, QueueName, QueueProvider, Realm,
    Settlement, Signal, SplitJobStore, StateOp, StateStore, Store, StoreOptions, Stores, StreamName, Timestamp,
    Verdict, Wake, Want, WorkerManager, WorkerOptions, limits::PAGE_ROWS_MAX,
};
use millstream_sqlite::SqliteStore;
use serde_json::{Value, json};

const LEASE: Duration = Duration::from_secs(30);

struct World {
    clock: ManualClock,
    /// Jobs.
    here: Arc<SqliteStore>,
    /// Events and state.
    there: Arc<SqliteStore>,
}

impl World {
    async fn new() -> Self {
        let clock = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
        let options = || StoreOptions { clock: Arc::new(clock.clone()), lease: LEASE, ..StoreOptions::default() };
        let (here, there) = (SqliteStore::memory(options()).unwrap(), SqliteStore::memory(options()).unwrap());
        Self { here, there, clock }
    }

    fn process(&self) -> SplitJobStore {
        SplitJobStore::new(self.here.clone(), self.there.clone(), self.there.clone())
    }

    /// A process that stops, or crashes, between the effects of a settle and the settle itself.
    fn process_with(&self, trouble: Trouble) -> SplitJobStore {
        let jobs = Arc::new(Troubled { jobs: self.here.clone(), trouble });
        SplitJobStore::new(jobs, self.there.clone(), self.there.clone())
    }

    async fn enqueue(&self, id: &str) {
        let job = NewJob::new(queue(), JobName::new("work").unwrap(), Value::Null).id(JobId::new(id).unwrap());
        assert!(self.here.enqueue(&[job]).await.unwrap()[0].is_created());
    }

    /// Nobody beats any more.
    async fn crash(&self) {
        self.clock.advance(LEASE + Duration::from_secs(1));
        assert_eq!(self.here.rescue().await.unwrap(), 1);
    }

    async fn published(&self) -> Vec<String> {
        let events = self.there.query(&EventQuery::of(Pattern::new("out").unwrap())).await.unwrap();
        events.into_iter().map(|event| event.kind.to_string()).collect()
    }

    async fn state_of(&self, id: &str) -> JobState {
        self.here.job(&queue(), &JobId::new(id).unwrap()).await.unwrap().unwrap().state
    }
}

/// What comes between the effects of a settle and the settle itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The process crashes: the queue is never asked.
    Crash,
    /// The process is stopped past its lease after it looked at its claim.
    Stop,
}

struct Troubled {
    jobs: Arc<SqliteStore>,
    trouble: Trouble,
}

#[async_trait::async_trait]
impl Store for Troubled {
    fn kind(&self) -> &'static str {
        self.jobs.kind()
    }

    fn realm(&self) -> &Realm {
        self.jobs.realm()
    }

    fn capabilities(&self) -> Capabilities {
        self.jobs.capabilities()
    }

    async fn sweep(&self) -> Result<u64, Error> {
        self.jobs.sweep().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.jobs.close().await
    }
}

#[async_trait::async_trait]
impl JobStore for Troubled {
    fn lease(&self) -> Duration {
        self.jobs.lease()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, Error> {
        self.jobs.claim(wants).await
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>, Error> {
        match self.trouble {
            Trouble::Crash => Err(Error::unavailable("troubled", "settle claims", "the process is gone")),
            Trouble::Stop => self.jobs.settle(batch).await,
        }
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>, Error> {
        match self.trouble {
            Trouble::Crash => self.jobs.beat(held).await,
            // The answer is from before the stop.
            Trouble::Stop => Ok(Vec::new()),
        }
    }

    async fn progress(&self, notes: &[Progress]) -> Result<(), Error> {
        self.jobs.progress(notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<(), Error> {
        self.jobs.release(held).await
    }

    async fn rescue(&self) -> Result<u64, Error> {
        self.jobs.rescue().await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>, Error> {
        self.jobs.promote_due().await
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>, Error> {
        self.jobs.fire_schedules().await
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        self.jobs.wait(queues).await
    }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

async fn take(process: &SplitJobStore) -> Vec<Claimed> {
    process.claim(&[Want::new(queue(), 10)]).await.unwrap()
}

fn publish(kind: &str) -> Append {
    Append::one(StreamName::new("out").unwrap(), NewEvent::new(kind, Value::Null))
}

/// An outcome with effects in both files.
fn settlement(claim: &ClaimRef, kind: &str) -> Settlement {
    let next = NewJob::new(QueueName::new("next").unwrap(), JobName::new("work").unwrap(), json!(kind));
    let effects = Effects {
        append: vec![publish(kind)],
        enqueue: vec![next.id(JobId::new(format!("after-{}", claim.job)).unwrap())],
        state: vec![StateOp::Set { key: "last".into(), value: json!(kind), ttl: None }],
        runs: Vec::new(),
    };
    Settlement { claim: claim.clone(), outcome: Outcome::Done(json!(kind)), effects }
}

async fn settle(process: &SplitJobStore, settlement: Settlement) -> Verdict {
    process.settle(&[settlement]).await.unwrap().remove(0)
}

#[tokio::test]
async fn effects_reach_both_stores() {
    let world = World::new().await;
    world.enqueue("1").await;
    let process = world.process();
    let claimed = take(&process).await;
    let verdict = settle(&process, settlement(&claimed[0].claim, "first")).await;
    assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");
    assert_eq!(world.published().await, ["first"]);
    assert_eq!(world.there.get("last").await.unwrap(), Some(json!("first")));
    assert_eq!(world.here.counts(&QueueName::new("next").unwrap()).await.unwrap().waiting, 1);
    assert!(
        world.here.query(&EventQuery::of(Pattern::All)).await.unwrap().is_empty(),
        "no event is in the queue's file"
    );
}

#[tokio::test]
async fn a_crash_after_the_record_is_replayed_and_not_run_again() {
    let world = World::new().await;
    world.enqueue("1").await;
    let first = world.process_with(Trouble::Crash);
    let claim = take(&first).await.remove(0).claim;
    let crashed = first.settle(&[settlement(&claim, "first")]).await;
    assert!(matches!(crashed, Err(Error::Unavailable { .. })), "{crashed:?}");
    assert_eq!(world.state_of("1").await, JobState::Active);
    assert_eq!(world.published().await, ["first"], "record and event are one append");

    world.crash().await;
    let second = world.process();
    assert!(take(&second).await.is_empty(), "a recorded job is not handed to a handler");
    assert_eq!(world.state_of("1").await, JobState::Completed);
    let job = world.here.job(&queue(), &claim.job).await.unwrap().unwrap();
    assert_eq!(job.output, Some(json!("first")), "the recorded output");
    assert_eq!(world.published().await, ["first"], "nothing is published twice");
    assert_eq!(world.here.counts(&QueueName::new("next").unwrap()).await.unwrap().waiting, 1, "its next job");
    assert_eq!(world.there.get("last").await.unwrap(), Some(json!("first")));
}

#[tokio::test]
async fn of_two_holders_the_first_record_counts() {
    let world = World::new().await;
    world.enqueue("1").await;
    let (slow, quick) = (world.process_with(Trouble::Stop), world.process());
    let lost = take(&slow).await.remove(0).claim;
    world.crash().await;
    let held = take(&quick).await.remove(0).claim;
    // The slow one looked at its claim before it was stopped, and publishes first.
    assert!(matches!(settle(&slow, settlement(&lost, "slow")).await, Verdict::LostClaim));
    let verdict = settle(&quick, settlement(&held, "quick")).await;
    assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");
    assert_eq!(world.published().await, ["slow"], "one outcome is published");
    let job = world.here.job(&queue(), &held.job).await.unwrap().unwrap();
    assert_eq!(job.output, Some(json!("slow")), "and it is the job's");
}

#[tokio::test]
async fn a_failure_does_not_contradict_a_published_success() {
    let world = World::new().await;
    world.enqueue("1").await;
    let (slow, quick) = (world.process_with(Trouble::Stop), world.process());
    let lost = take(&slow).await.remove(0).claim;
    world.crash().await;
    let held = take(&quick).await.remove(0).claim;
    settle(&slow, settlement(&lost, "slow")).await;
    let failed = Settlement { claim: held, outcome: Outcome::Fail(json!("no")), effects: Effects::default() };
    let verdict = settle(&quick, failed).await;
    assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");
}

#[tokio::test]
async fn a_refused_effect_leaves_no_record() {
    let world = World::new().await;
    world.enqueue("1").await;
    let process = world.process();
    let claim = take(&process).await.remove(0).claim;
    let mut refused = settlement(&claim, "first");
    refused.effects.append[0].expected = Some(7);
    let verdict = settle(&process, refused).await;
    assert!(matches!(verdict, Verdict::EffectRefused(Error::VersionConflict { expected: 7, .. })), "{verdict:?}");
    assert!(world.there.query(&EventQuery::of(Pattern::All)).await.unwrap().is_empty(), "nothing was written");
    let verdict = settle(&process, settlement(&claim, "second")).await;
    assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "the claim still holds: {verdict:?}");
    assert_eq!(world.published().await, ["second"]);
}

#[tokio::test]
async fn a_job_that_runs_again_publishes_again() {
    let world = World::new().await;
    world.enqueue("1").await;
    let process = world.process();
    let id = JobId::new("1").unwrap();
    for (kind, again) in [("first", true), ("second", false), ("third", false)] {
        let claimed = take(&process).await;
        assert_eq!(claimed.len(), 1, "the {kind} life runs");
        let verdict = settle(&process, settlement(&claimed[0].claim, kind)).await;
        assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");
        if again {
            assert!(world.here.retry(&queue(), &id).await.unwrap(), "an operator runs it again");
        } else {
            assert!(world.here.remove(&queue(), &id).await.unwrap());
            world.enqueue("1").await;
        }
    }
    assert_eq!(world.published().await, ["first", "second", "third"]);
}

#[tokio::test]
async fn an_id_that_is_used_again_and_again_has_its_records_for_ever() {
    let world = World::new().await;
    let process = world.process();
    // More lives than a page of a query has rows.
    for life in 0..PAGE_ROWS_MAX + 2 {
        world.enqueue("1").await;
        let claimed = take(&process).await;
        assert_eq!(claimed.len(), 1, "life {life} runs");
        let verdict = settle(&process, settlement(&claimed[0].claim, "kind")).await;
        assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "life {life}: {verdict:?}");
        assert!(world.here.remove(&queue(), &JobId::new("1").unwrap()).await.unwrap());
    }
}

#[tokio::test]
async fn a_lost_claim_publishes_nothing() {
    let world = World::new().await;
    world.enqueue("1").await;
    let process = world.process();
    let claim = take(&process).await.remove(0).claim;
    world.crash().await;
    assert!(matches!(settle(&process, settlement(&claim, "late")).await, Verdict::LostClaim));
    assert!(world.there.query(&EventQuery::of(Pattern::All)).await.unwrap().is_empty(), "not even a record");
}

#[tokio::test]
async fn effects_of_a_failed_attempt_are_published_once() {
    let world = World::new().await;
    world.enqueue("1").await;
    let claim = take(&world.process()).await.remove(0).claim;
    let outcome = || Outcome::Retry { error: json!("no"), after: Some(Duration::ZERO) };
    let crashed = world.process_with(Trouble::Crash);
    assert!(crashed.settle(&[Settlement { outcome: outcome(), ..settlement(&claim, "failed") }]).await.is_err());
    // The store was away for a moment; the same settlement is tried again.
    let verdict = settle(&world.process(), Settlement { outcome: outcome(), ..settlement(&claim, "failed") }).await;
    assert!(matches!(verdict, Verdict::Settled(JobState::Waiting)), "{verdict:?}");
    assert_eq!(world.published().await, ["failed"]);
    assert_eq!(take(&world.process()).await.len(), 1, "it runs again: no record was made");
}

#[tokio::test]
async fn workers_of_split_stores_write_to_both() {
    let world = World::new().await;
    let stores = Stores { queue: world.here.clone(), events: world.there.clone(), state: world.there.clone() };
    let options = WorkerOptions { clock: Arc::new(world.clock.clone()), ..WorkerOptions::default() };
    let workers = WorkerManager::new(stores.clone(), options);
    workers
        .register(
            &queue(),
            &JobName::new("work").unwrap(),
            |kind: String, ctx: millstream_core::JobContext| async move {
                ctx.append(publish(&kind));
                ctx.set_state("last", json!(kind), None);
                Ok::<_, millstream_core::JobError>(kind)
            },
        )
        .unwrap();
    workers.start().await.unwrap();
    let jobs = Queue::new(stores.queue.clone(), "q").unwrap();
    let id = jobs.enqueue("work", "done").await.unwrap();
    let job = jobs.finished(id.id()).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Completed, "{job:?}");
    assert_eq!(world.published().await, ["done"]);
    assert_eq!(world.there.get("last").await.unwrap(), Some(json!("done")));
    workers.close_all().await.unwrap();
    stores.close().await.unwrap();
}
