//! A queue in one file, its events and state in another: a crash between any two writes neither loses nor doubles.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    Append, ClaimRef, Claimed, Effects, Error, EventQuery, EventStore, JobId, JobName, JobState, JobStore, ManualClock,
    NewEvent, NewJob, Outcome, Pattern, Queue, QueueName, QueueProvider, Settlement, SplitJobStore, StateOp,
    StateStore, StoreOptions, Stores, StreamName, Verdict, Want, WorkerManager, WorkerOptions, limits::PAGE_ROWS_MAX,
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

    /// What one process has: another one knows nothing of what it remembers.
    fn process(&self) -> SplitJobStore {
        SplitJobStore::new(self.here.clone(), self.there.clone(), self.there.clone())
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

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

async fn take(process: &SplitJobStore) -> Vec<Claimed> {
    process.claim(&[Want { queue: queue(), at_most: 10 }]).await.unwrap()
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
    let first = world.process();
    let claim = take(&first).await.remove(0).claim;
    // The crash: the queue takes no more settles of this claim, so only what comes before it is written.
    world.clock.advance(LEASE + Duration::from_secs(1));
    let verdict = settle(&first, settlement(&claim, "first")).await;
    assert!(matches!(verdict, Verdict::LostClaim), "{verdict:?}");
    assert_eq!(world.state_of("1").await, JobState::Active);
    assert_eq!(world.published().await, ["first"], "record and event are one append");

    assert_eq!(world.here.rescue().await.unwrap(), 1);
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
    let (slow, quick) = (world.process(), world.process());
    let lost = take(&slow).await.remove(0).claim;
    world.crash().await;
    let held = take(&quick).await.remove(0).claim;
    // The slow one does not know yet that it lost its claim, and publishes first.
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
    let (slow, quick) = (world.process(), world.process());
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
async fn effects_apart_need_an_outcome_that_is_final() {
    let world = World::new().await;
    world.enqueue("1").await;
    let process = world.process();
    let claim = take(&process).await.remove(0).claim;
    let outcome = Outcome::Retry { error: json!("no"), after: None };
    let verdict = settle(&process, Settlement { outcome, ..settlement(&claim, "first") }).await;
    assert!(matches!(verdict, Verdict::EffectRefused(Error::Unsupported { .. })), "{verdict:?}");
    assert!(world.published().await.is_empty());
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
