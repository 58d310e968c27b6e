//! Workers on a real store, against handlers and surroundings that do not behave.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    Job, JobContext, JobError, JobId, JobName, JobState, NewJob, Queue, QueueName, QueueProvider, StoreOptions, Stores,
    WorkerManager, WorkerOptions,
};
use millstream_sqlite::SqliteStore;
use serde_json::{Value, json};

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
