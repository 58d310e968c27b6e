//! What every test builds for itself: a file, a clock, a store.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use futures_core::Stream as _;
use millstream_core::{
    BoxStream, ClaimRef, Claimed, Effects, JobName, JobStore, ManualClock, NewJob, Outcome, QueueName, SeededEntropy,
    Settlement, StoreOptions, Want,
};
use millstream_sqlite::SqliteStore;
use serde_json::json;
use tempfile::TempDir;

/// Longer than any event of a test takes, and only waited for when the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    dir: TempDir,
    pub(crate) clock: ManualClock,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, clock: ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("jobs.db")
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SeededEntropy::new(1)),
            ..StoreOptions::default()
        }
    }

    pub(crate) async fn open(&self) -> Arc<SqliteStore> {
        SqliteStore::open(self.path(), self.options()).await.expect("the file opens")
    }

    pub(crate) fn memory(&self) -> Arc<SqliteStore> {
        SqliteStore::memory(self.options()).expect("a store in memory opens")
    }
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn job(name: &str) -> NewJob {
    NewJob::new(queue(name), JobName::new("work").unwrap(), json!({ "n": 1 }))
}

pub(crate) fn named(name: &str, id: &str) -> NewJob {
    job(name).id(id.try_into().unwrap())
}

pub(crate) async fn claim(store: &SqliteStore, name: &str, at_most: u32) -> Vec<Claimed> {
    store.claim(&[Want::new(queue(name), at_most)]).await.unwrap()
}

pub(crate) fn settlement(claim: &ClaimRef, outcome: Outcome) -> Settlement {
    Settlement { claim: claim.clone(), outcome, effects: Effects::default() }
}

/// Waits for what must happen; a test that would hang fails instead.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens")
}

pub(crate) async fn next<T>(stream: &mut BoxStream<T>) -> Option<T> {
    soon(std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx))).await
}
