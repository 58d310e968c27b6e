//! Workers on a real store, against handlers and surroundings that do not behave.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    CancelReason, Job, JobContext, JobError, JobId, JobName, JobState, JobStore, NewJob, Queue, QueueName,
    QueueProvider, StoreOptions, Stores, WorkerManager, WorkerOptions, limits::ERROR_BYTES_MAX,
};
use millstream_sqlite::SqliteStore;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Long enough for any of this on a busy machine, and far below every lease and poll here.
const PATIENCE: Duration = Duration::from_secs(20);

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job(id: &str) -> NewJob {
    NewJob::new(queue(), JobName::new("work").unwrap(), Value::Null).id(JobId::new(id).unwrap())
}

/// Signals only: whoever relies on the poll waits for longer than any test does.
fn options() -> WorkerOptions {
    WorkerOptions { poll: Duration::from_secs(600), ..WorkerOptions::default() }
}

fn stores(store: &Arc<SqliteStore>) -> Stores {
    Stores { queue: store.clone(), events: store.clone(), state: store.clone() }
}

async fn in_time<T>(what: &str, coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn finished(store: &Arc<SqliteStore>, id: &str) -> Job {
    let queue = Queue::new(store.clone(), "q").unwrap();
    in_time(id, queue.finished(&JobId::new(id).unwrap())).await.unwrap().unwrap()
}

/// Panics when it is dropped, as a guard whose file or connection is gone may.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped badly");
    }
}

#[tokio::test]
async fn a_handler_that_panics_while_it_is_dropped_is_a_failed_attempt_like_any_other() {
    let store = SqliteStore::memory(StoreOptions::default()).unwrap();
    let workers = WorkerManager::new(stores(&store), WorkerOptions { concurrency: 1, ..options() });
    workers
        .register(&queue(), &JobName::new("work").unwrap(), |_: Value, ctx: JobContext| async move {
            if ctx.job_id().as_str() == "bad" {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            }
            Ok::<_, JobError>(1)
        })
        .unwrap();
    workers.start().await.unwrap();
    store.enqueue(&[job("bad").attempts(1).timeout(Duration::from_millis(20)), job("good")]).await.unwrap();
    assert_eq!(finished(&store, "bad").await.state, JobState::Failed);
    assert_eq!(finished(&store, "good").await.state, JobState::Completed, "the slot is free again");
    in_time("the stop", workers.close_all()).await.unwrap();
}

#[tokio::test]
async fn a_second_handler_is_refused_and_the_first_stays() {
    let store = SqliteStore::memory(StoreOptions::default()).unwrap();
    let workers = WorkerManager::new(stores(&store), options());
    let name = JobName::new("work").unwrap();
    let answers = |word: &'static str| move |_: Value, _: JobContext| async move { Ok::<_, JobError>(word) };
    workers.register(&queue(), &name, answers("first")).unwrap();
    let refused = workers.register(&queue(), &name, answers("second")).unwrap_err().to_string();
    assert!(refused.contains("a second handler of `work`"), "{refused}");
    workers.start().await.unwrap();
    store.enqueue(&[job("1")]).await.unwrap();
    assert_eq!(finished(&store, "1").await.output, Some(json!("first")));
    in_time("the stop", workers.close_all()).await.unwrap();
}

/// Without a pause between two looks, a worker would keep a core busy for nothing.
#[tokio::test]
async fn a_poll_without_a_pause_is_refused() {
    let store = StoreOptions { poll: Duration::ZERO, ..StoreOptions::default() };
    let refused = SqliteStore::memory(store).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("invalid poll: got 0ns, expected at least 1ms"));
    let store = SqliteStore::memory(StoreOptions::default()).unwrap();
    let workers = WorkerManager::new(stores(&store), WorkerOptions { poll: Duration::ZERO, ..options() });
    let refused = workers.start().await.unwrap_err().to_string();
    assert_eq!(refused, "invalid poll: got 0ns, expected at least 1ms");
}

#[tokio::test]
async fn a_stop_goes_on_when_nobody_waits_for_it_any_more() {
    let store = SqliteStore::memory(StoreOptions::default()).unwrap();
    let workers = WorkerManager::new(stores(&store), options());
    let (started, mut starts) = mpsc::unbounded_channel();
    workers
        .register(&queue(), &JobName::new("work").unwrap(), move |_: Value, ctx: JobContext| {
            let started = started.clone();
            async move {
                let _ = started.send(());
                ctx.cancellation().cancelled().await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok::<_, JobError>("ended within the grace")
            }
        })
        .unwrap();
    workers.start().await.unwrap();
    store.enqueue(&[job("1")]).await.unwrap();
    in_time("the start", starts.recv()).await;
    let impatient = tokio::time::timeout(Duration::from_millis(20), workers.close_all()).await;
    assert!(impatient.is_err(), "the handler takes longer than that");
    in_time("the stop", workers.close_all()).await.unwrap();
    let job = finished(&store, "1").await;
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1), "{job:?}");
}

#[tokio::test]
async fn a_handler_may_stop_the_workers_that_run_it() {
    let store = SqliteStore::memory(StoreOptions::default()).unwrap();
    let workers = WorkerManager::new(stores(&store), options());
    let manager = workers.clone();
    let (started, mut starts) = mpsc::unbounded_channel();
    workers
        .register(&queue(), &JobName::new("work").unwrap(), move |_: Value, ctx: JobContext| {
            let (manager, started) = (manager.clone(), started.clone());
            async move {
                let _ = started.send(());
                match ctx.job_id().as_str() {
                    "closer" => manager.close_all_within(Duration::from_millis(50)).await?,
                    _ => std::future::pending().await,
                }
                Ok::<_, JobError>(())
            }
        })
        .unwrap();
    store.enqueue(&[job("other"), job("closer")]).await.unwrap();
    workers.start().await.unwrap();
    in_time("the starts", async { (starts.recv().await, starts.recv().await) }).await;
    // Neither ends within the grace: both go back, and no attempt is burned.
    in_time("both to go back", async {
        while store.counts(&queue()).await.unwrap().waiting < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let other = store.job(&queue(), &JobId::new("other").unwrap()).await.unwrap().unwrap();
    assert_eq!(other.attempt, 0);
    in_time("the stop", workers.close_all()).await.unwrap();
}

#[tokio::test]
async fn a_cancellation_that_arrives_together_with_a_new_job_hides_neither() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jobs.db");
    let here = SqliteStore::open(&file, StoreOptions::default()).await.unwrap();
    let there = SqliteStore::open(&file, StoreOptions::default()).await.unwrap();
    let workers = WorkerManager::new(stores(&here), options());
    let (started, mut starts) = mpsc::unbounded_channel();
    workers
        .register(&queue(), &JobName::new("work").unwrap(), move |_: Value, ctx: JobContext| {
            let started = started.clone();
            async move {
                let _ = started.send(ctx.job_id().clone());
                ctx.cancellation().cancelled().await;
                Err::<(), _>(JobError::retry(ctx.cancel_reason().unwrap_or(CancelReason::ClaimLost)))
            }
        })
        .unwrap();
    workers.start().await.unwrap();
    there.enqueue(&[job("0")]).await.unwrap();
    in_time("the first start", starts.recv()).await;
    // Another process sees both within one look at the file, more often than not.
    for round in 0..20 {
        let (old, new) = (JobId::new(round.to_string()).unwrap(), job(&(round + 1).to_string()));
        let (q, new) = (queue(), [new]);
        let (cancelled, added) = tokio::join!(there.cancel(&q, &old), there.enqueue(&new));
        assert!(cancelled.unwrap() && added.unwrap()[0].is_created());
        in_time("the start of the new job", starts.recv()).await;
        assert_eq!(finished(&there, old.as_str()).await.state, JobState::Cancelled);
    }
    in_time("the stop", workers.close_all_within(Duration::ZERO)).await.unwrap();
}

#[test]
fn a_runtime_that_is_gone_takes_its_heartbeats_with_it() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let lease = Duration::from_millis(300);
    let store = SqliteStore::memory(StoreOptions { lease, ..StoreOptions::default() }).unwrap();
    let workers = WorkerManager::new(stores(&store), options());
    let (started, mut starts) = mpsc::unbounded_channel();
    workers
        .register(&queue(), &JobName::new("work").unwrap(), move |_: Value, _: JobContext| {
            let started = started.clone();
            async move {
                let _ = started.send(());
                std::future::pending::<()>().await;
                Ok::<_, JobError>(())
            }
        })
        .unwrap();
    let first = runtime();
    first.block_on(async {
        workers.start().await.unwrap();
        store.enqueue(&[job("1")]).await.unwrap();
        in_time("the start", starts.recv()).await;
    });
    // As a test, or a library with a runtime of its own, may do; the manager lives on.
    drop(first);
    runtime().block_on(in_time("the job to come back", async {
        while store.rescue().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
}

#[tokio::test]
async fn a_progress_that_is_refused_does_not_cost_its_neighbours_theirs() {
    let store = SqliteStore::memory(StoreOptions::default()).unwrap();
    let workers = WorkerManager::new(stores(&store), options());
    workers
        .register(&queue(), &JobName::new("work").unwrap(), |_: Value, ctx: JobContext| async move {
            match ctx.job_id().as_str() {
                "bad" => ctx.progress("a\0b"),
                _ => ctx.progress(50),
            }
            std::future::pending::<()>().await;
            Ok::<_, JobError>(())
        })
        .unwrap();
    store.enqueue(&[job("bad"), job("good")]).await.unwrap();
    workers.start().await.unwrap();
    in_time("the progress", async {
        let good = JobId::new("good").unwrap();
        while store.job(&queue(), &good).await.unwrap().unwrap().progress != Some(json!(50)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    in_time("the stop", workers.close_all_within(Duration::ZERO)).await.unwrap();
}

#[tokio::test]
async fn an_error_that_is_too_long_keeps_its_shape() {
    let store = SqliteStore::memory(StoreOptions::default()).unwrap();
    let workers = WorkerManager::new(stores(&store), options());
    workers
        .register(&queue(), &JobName::new("work").unwrap(), |_: Value, ctx: JobContext| async move {
            let long = "\u{1}".repeat(ERROR_BYTES_MAX);
            Err::<(), _>(match ctx.job_id().as_str() {
                "message" => JobError::fail(long),
                _ => JobError::fail("short").details(json!(long)),
            })
        })
        .unwrap();
    workers.start().await.unwrap();
    store.enqueue(&[job("message"), job("details")]).await.unwrap();
    let error = finished(&store, "message").await.error.unwrap();
    assert_eq!(error["attempt"], 1, "{error}");
    assert!(error["message"].as_str().unwrap().starts_with("\u{1}\u{1}"));
    let error = finished(&store, "details").await.error.unwrap();
    assert_eq!(error["message"], "short", "{error}");
    assert!(error["dropped"].as_str().unwrap().contains("bytes"), "{error}");
    in_time("the stop", workers.close_all()).await.unwrap();
}
