//! The book of claims: what a call took is found again by anybody, however its jobs end, and its row goes with them.

use std::time::Duration;

use millstream_core::{
    Claimed, Effects, JobName, JobStore, NewJob, Outcome, QueueName, QueueProvider, Settlement, Store, StoreOptions,
    Timestamp, Verdict, Want,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{Database, Version};
use serde_json::json;
use tokio_postgres::Client;

#[path = "world/time.rs"]
mod time;
mod world;

/// A database whose time the test moves, a store in it, and somebody who looks into it.
struct Trial {
    version: Version,
    database: Database,
    store: PostgresStore,
    client: Client,
    _driver: tokio::task::JoinSet<()>,
    now: Timestamp,
}

impl Trial {
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (version, database) in world::databases() {
            let store = open(&database).await;
            let (client, driver) = world::connect(&database.url()).await;
            let now = "2026-11-21T12:00:00Z".parse().unwrap();
            let mut trial = Self { version, database, store, client, _driver: driver, now };
            trial.pass(Duration::ZERO).await;
            all.push(trial);
        }
        all
    }

    async fn pass(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap();
        self.client.batch_execute(&time::set_time("millstream", self.now)).await.unwrap();
    }

    async fn pass_lease(&mut self) {
        self.pass(self.store.lease()).await;
    }

    /// Enqueues so many jobs, and takes them.
    async fn take(&self, jobs: u32) -> Vec<Claimed> {
        let job = NewJob::new(queue(), JobName::new("work").unwrap(), json!(null));
        self.store.enqueue(&vec![job; jobs as usize]).await.unwrap();
        let claimed = self.store.claim(&[Want { queue: queue(), at_most: jobs }]).await.unwrap();
        assert_eq!(claimed.len(), jobs as usize, "on {}", self.version);
        claimed
    }

    /// A claim that finds nothing: what is over goes with it.
    async fn idle(&self) {
        assert!(self.store.claim(&[Want { queue: queue(), at_most: 1 }]).await.unwrap().is_empty());
    }

    /// How many jobs each row of the book has.
    async fn book(&self) -> Vec<i32> {
        let text = "select cardinality(jobs) from millstream.job_book order by claim";
        self.client.query(text, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

async fn open(database: &Database) -> PostgresStore {
    PostgresStore::connect(PostgresOptions::new(database.url()), StoreOptions::default()).await.unwrap()
}

async fn settle(store: &PostgresStore, claimed: &[Claimed], outcome: Outcome) -> Vec<Verdict> {
    let settlement = |claimed: &Claimed| Settlement {
        claim: claimed.claim.clone(),
        outcome: outcome.clone(),
        effects: Effects::default(),
    };
    store.settle(&claimed.iter().map(settlement).collect::<Vec<_>>()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_goes_when_all_its_jobs_are_settled() {
    for trial in Trial::all().await {
        let store = &trial.store;
        let first = trial.take(3).await;
        let second = trial.take(2).await;
        assert_eq!(trial.book().await, [3, 2], "on {}", trial.version);
        settle(store, &first[..2], Outcome::Done(json!(1))).await;
        settle(store, &second, Outcome::Snooze(Duration::from_secs(60))).await;
        trial.idle().await;
        assert_eq!(trial.book().await, [3], "on {}", trial.version);
        // Twice: what was settled already counts once.
        settle(store, &first[..2], Outcome::Done(json!(1))).await;
        trial.idle().await;
        assert_eq!(trial.book().await, [3], "on {}", trial.version);
        store.release(&[first[2].claim.clone()]).await.unwrap();
        let again = store.claim(&[Want { queue: queue(), at_most: 1 }]).await.unwrap();
        assert_eq!(trial.book().await, [1], "on {}: the old row is gone, the new one is there", trial.version);
        settle(store, &again, Outcome::Fail(json!("no"))).await;
        trial.idle().await;
        assert_eq!(trial.book().await, [0_i32; 0], "on {}", trial.version);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_renewed_stays_booked_and_is_rescued_when_it_is_renewed_no_more() {
    for mut trial in Trial::all().await {
        let claimed = trial.take(4).await;
        settle(&trial.store, &claimed[..1], Outcome::Done(json!(1))).await;
        let half = trial.store.lease() / 2;
        let beaten = [claimed[1].claim.clone(), claimed[2].claim.clone()];
        for _ in 0..3 {
            trial.pass(half).await;
            assert!(trial.store.beat(&beaten).await.unwrap().is_empty(), "on {}", trial.version);
        }
        // The fourth was never renewed; the two that were are looked for when they run out.
        assert_eq!(trial.store.rescue().await.unwrap(), 1, "on {}", trial.version);
        assert_eq!(trial.book().await, [2], "on {}", trial.version);
        assert_eq!(trial.store.rescue().await.unwrap(), 0, "on {}", trial.version);
        // The holder is gone, and somebody else looks.
        trial.store.close().await.unwrap();
        trial.store = open(&trial.database).await;
        trial.pass_lease().await;
        assert_eq!(trial.store.rescue().await.unwrap(), 2, "on {}", trial.version);
        assert_eq!(trial.book().await, [0_i32; 0], "on {}", trial.version);
        assert_eq!(trial.store.counts(&queue()).await.unwrap().waiting, 3, "on {}", trial.version);
        trial.store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_whose_jobs_somebody_else_settled_goes_after_a_lease() {
    for mut trial in Trial::all().await {
        let claimed = trial.take(2).await;
        let call = trial.store.settle_call(&claimed[0].claim, &Outcome::Done(json!(1))).unwrap();
        let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            call.params.iter().map(|param| param as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        trial.client.query(&call.text, &params).await.unwrap();
        trial.store.remove(&queue(), &claimed[1].claim.job).await.unwrap();
        trial.idle().await;
        assert_eq!(trial.book().await, [2], "on {}", trial.version);
        trial.pass_lease().await;
        assert_eq!(trial.store.rescue().await.unwrap(), 0, "on {}", trial.version);
        assert_eq!(trial.book().await, [0_i32; 0], "on {}", trial.version);
        trial.store.close().await.unwrap();
    }
}

/// A settle goes to the place where the claim left the row; where a beat or somebody's wish to cancel moved it, and where
/// only some of a batch were moved, it is found all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_moved_is_settled_by_its_key() {
    for trial in Trial::all().await {
        let claimed = trial.take(5).await;
        trial.store.beat(&[claimed[1].claim.clone(), claimed[3].claim.clone()]).await.unwrap();
        trial.store.cancel(&queue(), &claimed[2].claim.job).await.unwrap();
        let verdicts = settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        assert!(verdicts.iter().all(|one| matches!(one, Verdict::Settled(_))), "on {}: {verdicts:?}", trial.version);
        assert_eq!(trial.store.counts(&queue()).await.unwrap().completed, 5, "on {}", trial.version);
        let again = settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        assert!(again.iter().all(|one| matches!(one, Verdict::LostClaim)), "on {}: {again:?}", trial.version);
        trial.store.close().await.unwrap();
    }
}
