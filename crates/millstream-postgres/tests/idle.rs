//! What a worker asks the database while nothing happens.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{
    Clock, EventStore, Handler, JobContext, JobError, JobName, JobStore, Pattern, QueueName, QueueProvider, Schedule,
    StartFrom, Store, StoreOptions, Stores, SystemClock, WorkerManager, WorkerOptions,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{
    fault::{Direction, Proxy},
    postgres,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// The worker's poll: short, so that a test sees many of them.
const POLL: Duration = Duration::from_millis(50);
/// Messages of one statement that is prepared: bind, execute, sync.
const MESSAGES: u64 = 3;
/// Statements that are waited for.
const STATEMENTS: u64 = 20;

struct Noop;

#[async_trait]
impl Handler for Noop {
    async fn run(&self, _: Value, _: JobContext) -> Result<Value, JobError> {
        Ok(json!(null))
    }
}

/// Ends when so many messages more have gone to the server.
async fn passed(proxy: &Proxy, more: u64) {
    let end = proxy.passed(Direction::ToServer) + more;
    let passing = async {
        while proxy.passed(Direction::ToServer) < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, passing).await.expect("the worker looks");
}

#[test]
fn an_idle_worker_asks_less_than_once_a_poll() {
    let server = postgres::v15();
    let proxy = Proxy::start(server.address()).unwrap();
    let url = server.url_through(proxy.address(), "postgres");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(idle(url, &proxy));
}

async fn idle(url: String, proxy: &Proxy) {
    let options = PostgresOptions::new(url).schema("idle");
    let store = Arc::new(PostgresStore::connect(options, StoreOptions::default()).await.unwrap());
    let queue = QueueName::new("q").unwrap();
    // Due in a while: what an idle worker looks for without locking it.
    let yearly = Schedule::new(queue.clone(), "yearly", "0 0 1 1 *", JobName::new("work").unwrap());
    store.schedule_upsert(&yearly).await.unwrap();
    let _events = store.subscribe(&Pattern::All, StartFrom::Now).await.unwrap();

    let manager =
        WorkerManager::new(Stores::of(store.clone()), WorkerOptions { poll: POLL, ..WorkerOptions::default() });
    manager.register_default(&queue, Arc::new(Noop)).unwrap();
    manager.start().await.unwrap();
    let hearing = async {
        while !store.hears() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.expect("the listener hears itself");
    // Statements are prepared with their first use.
    passed(proxy, STATEMENTS * MESSAGES).await;

    let clock = SystemClock::new();
    let before = clock.monotonic();
    passed(proxy, STATEMENTS * MESSAGES).await;
    let polls = (clock.monotonic() - before).as_secs_f64() / POLL.as_secs_f64();
    assert!(polls >= STATEMENTS as f64, "{STATEMENTS} statements in {polls:.1} polls");

    manager.close_all().await.unwrap();
    store.close().await.unwrap();
}
