//! What the tests run on.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{sync::Arc, time::Duration};

use millstream_core::{
    Claimed, Effects, Job, JobId, JobState, JobStore as _, JobsQuery, NewJob, Outcome, QueueName, QueueProvider as _,
    Settlement, Store as _, StoreOptions, Stores, Verdict, Want,
};
use millstream_interop::{Node, Release};
use millstream_postgres::pgboss::{PgBossOptions, PgBossStore, Redrive};
use millstream_servers::{Database, Postgres, Version, postgres};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// Each server to test on.
pub(crate) fn servers() -> Vec<(Version, &'static Postgres)> {
    let server = |version| (version, Postgres::get(version).expect("a private server"));
    postgres::available().into_iter().map(server).collect()
}

/// A plain connection, and the task that drives it.
pub(crate) async fn connect(url: &str) -> (Client, JoinSet<()>) {
    let (client, wire) = tokio_postgres::connect(url, NoTls).await.expect("the test's server answers");
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(wire.await) });
    (client, driver)
}

/// pg-boss without its background work: what a test does not ask for does not happen.
pub(crate) fn quiet(url: &str) -> Value {
    json!({ "connectionString": url, "supervise": false, "schedule": false, "bamIntervalSeconds": 10 })
}

/// Every policy of a queue.
pub(crate) fn policies() -> impl Iterator<Item = &'static str> {
    ["standard", "short", "singleton", "stately", "exclusive", "key_strict_fifo"].into_iter()
}

/// A queue's name by its policy, and whether it has a table of its own.
pub(crate) fn queue(policy: &str, partition: bool) -> String {
    format!("{policy}{}", if partition { ".own" } else { "" })
}

/// Node's pg-boss and a store of Millstream on one database.
pub(crate) struct World {
    pub(crate) version: Version,
    pub(crate) node: Node,
    pub(crate) store: Arc<PgBossStore>,
    pub(crate) client: Client,
    _driver: JoinSet<()>,
    database: Database,
}

impl World {
    /// One for each server; Node comes first, so that the schema is its own.
    pub(crate) async fn all() -> Vec<Self> {
        let mut worlds = Vec::new();
        for (version, server) in servers() {
            let database = server.create_database();
            let node = Node::start(Release::Current, quiet(&database.url())).await;
            let store = store(&database.url()).await;
            let (client, driver) = connect(&database.url()).await;
            worlds.push(Self { version, node, store, client, _driver: driver, database });
        }
        worlds
    }

    pub(crate) fn url(&self) -> String {
        self.database.url()
    }

    pub(crate) fn stores(&self) -> Stores {
        Stores::of(self.store.clone())
    }

    /// A queue of Node's making.
    pub(crate) async fn queue(&mut self, name: &str, options: Value) -> QueueName {
        self.node.call("createQueue", json!([name, options])).await;
        QueueName::new(name).unwrap()
    }

    /// What Node sends; its id.
    pub(crate) async fn node_sends(&mut self, queue: &QueueName, data: Value, options: Value) -> JobId {
        let id = self.node.call("send", json!([queue.as_str(), data, options])).await;
        JobId::new(id.as_str().expect("it is not refused")).unwrap()
    }

    /// The job that Millstream takes next of a queue.
    pub(crate) async fn claim(&self, queue: &QueueName) -> Claimed {
        self.try_claim(queue).await.unwrap_or_else(|| panic!("{}: there is no job in `{queue}` to claim", self.version))
    }

    pub(crate) async fn try_claim(&self, queue: &QueueName) -> Option<Claimed> {
        let want = Want::new(queue.clone(), 1);
        self.store.claim(&[want]).await.unwrap().pop()
    }

    /// Settles; the state that the job is in then.
    pub(crate) async fn settle(&self, claimed: &Claimed, outcome: Outcome) -> JobState {
        match self.try_settle(claimed, outcome).await {
            Verdict::Settled(state) => state,
            other => panic!("{}: not settled: {other:?}", self.version),
        }
    }

    pub(crate) async fn try_settle(&self, claimed: &Claimed, outcome: Outcome) -> Verdict {
        let settlement = Settlement { claim: claimed.claim.clone(), outcome, effects: Effects::default() };
        self.store.settle(&[settlement]).await.unwrap().remove(0)
    }

    /// The job as Millstream sees it.
    pub(crate) async fn ours(&self, queue: &QueueName, id: &JobId) -> Job {
        self.store.job(queue, id).await.unwrap().expect("the job is there")
    }

    /// The job as Node sees it.
    pub(crate) async fn theirs(&mut self, queue: &QueueName, id: &JobId) -> Value {
        let found = self.node.call("findJobs", json!([queue.as_str(), { "id": id.as_str() }])).await;
        found.get(0).cloned().unwrap_or_else(|| panic!("{}: Node sees no job {id}", self.version))
    }

    /// Millstream's job; its id.
    pub(crate) async fn enqueue(&self, job: NewJob) -> JobId {
        self.store.enqueue(&[job]).await.unwrap()[0].id().clone()
    }

    /// A job of a queue, as Millstream lists it.
    pub(crate) async fn try_find(&self, queue: &QueueName) -> Option<Job> {
        self.store.jobs(&JobsQuery::of(queue.clone())).await.unwrap().items.pop()
    }

    /// Millstream's pass over every queue, and over its own leases.
    pub(crate) async fn rescue(&self) {
        self.store.rescue().await.unwrap();
        self.store.supervise(None).await.unwrap();
    }

    /// Millstream sends a dead letter queue's jobs back.
    pub(crate) async fn redrive(&self, dead: &QueueName) -> u64 {
        self.store.redrive(dead, &Redrive::default()).await.unwrap()
    }

    /// Moves the time of both sides, as pg-boss's own TestClock does: seconds from the real one.
    pub(crate) async fn later(&self, seconds: u32) {
        let statement = format!(
            "create or replace function pgboss.job_now() returns timestamptz language sql stable as \
             $$ select pg_catalog.now() + interval '{seconds} seconds' $$"
        );
        self.client.batch_execute(&statement).await.unwrap();
    }

    /// One number or text of the database.
    pub(crate) async fn asked(&self, question: &str) -> Option<String> {
        let rows = self.client.query(&format!("select (x)::text from ({question}) as t(x)"), &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{question}: {error:?}"));
        rows.first().and_then(|row| row.get(0))
    }

    pub(crate) async fn close(self) {
        self.node.stop().await;
        self.store.close().await.unwrap();
    }
}

/// A store that does nothing for others by itself.
pub(crate) async fn store(url: &str) -> Arc<PgBossStore> {
    let options = PgBossOptions { supervise: false, schedule: false, ..PgBossOptions::new(url) };
    Arc::new(PgBossStore::connect(options, StoreOptions::default()).await.expect("Millstream opens pg-boss's tables"))
}

/// Ends when `done` answers true; asked again and again, for what nobody tells.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let ended = tokio::time::timeout(Duration::from_secs(90), async {
        while !done().await {
            ticks.tick().await;
        }
    });
    assert!(ended.await.is_ok(), "waited in vain: {what}");
}
