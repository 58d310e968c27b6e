//! The suite that every store passes, on pg-boss's tables, on each server: as they are, and with a pool of one
//! connection. The broken twins run on the native store.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use millstream_core::{
    Error, Result, StoreOptions, Stores, Timestamp,
    conformance::{Backend, Harness},
};
use millstream_postgres::{
    PostgresOptions,
    pgboss::{PgBossOptions, PgBossStore},
};
use tokio::{sync::Mutex, task::JoinSet};
use tokio_postgres::Client;

#[path = "world/time.rs"]
mod time;
mod world;

/// Schemas of this run.
static SCHEMAS: AtomicU64 = AtomicU64::new(0);

struct Postgres {
    name: String,
    url: String,
    pool_size: usize,
    prepare: Option<bool>,
    /// Whether it is a server that another harness has already.
    again: bool,
}

impl Postgres {
    fn options(&self, schema: &str) -> PgBossOptions {
        let ours = PostgresOptions::new(&self.url).schema(schema).pool_size(self.pool_size);
        let postgres = PostgresOptions { prepare: self.prepare, ..ours };
        PgBossOptions { postgres, ..PgBossOptions::new("").schema(format!("{schema}_boss")) }
    }
}

#[async_trait]
impl Harness for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn twinned(&self) -> bool {
        false
    }

    fn muted(&self) -> bool {
        !self.again
    }

    fn ready_order(&self) -> bool {
        false
    }

    async fn open(&self, options: StoreOptions) -> Result<Box<dyn Backend>> {
        let schema = format!("trial_{}_{}", std::process::id(), SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let boss = self.options(&schema);
        let (client, driver) = world::connect(&self.url).await;
        millstream_postgres::schema::up(&boss.postgres).await?;
        millstream_postgres::pgboss::schema::up(&boss.postgres, &boss.schema).await?;
        let trial = Trial { schema, boss, options, client, _driver: driver, opened: Mutex::default() };
        let now = trial.options.clock.now();
        trial.set_time(now).await?;
        let first = trial.connect().await?;
        Ok(Box::new(Opened { trial, first }))
    }
}

/// A schema of one trial.
struct Trial {
    schema: String,
    boss: PgBossOptions,
    options: StoreOptions,
    client: Client,
    _driver: JoinSet<()>,
    opened: Mutex<Vec<PgBossStore>>,
}

struct Opened {
    trial: Trial,
    first: PgBossStore,
}

impl Trial {
    async fn connect(&self) -> Result<PgBossStore> {
        let store = PgBossStore::connect(self.boss.clone(), self.options.clone()).await?;
        self.opened.lock().await.push(store.clone());
        Ok(store)
    }

    /// The store's time stands where the trial's clock does, and so does pg-boss's.
    async fn set_time(&self, now: Timestamp) -> Result<()> {
        let text = format!(
            "{}; create or replace function {1}_boss.job_now() returns timestamptz language sql stable \
             as $$ select at from {1}.trial_time $$",
            time::set_time(&self.schema, now),
            self.schema
        );
        self.run(&text).await
    }

    async fn run(&self, text: &str) -> Result<()> {
        let failed = |error| Error::unavailable("postgres", "run a test's statement", error);
        self.client.batch_execute(text).await.map_err(failed)
    }
}

#[async_trait]
impl Backend for Opened {
    fn stores(&self) -> Stores {
        Stores::of(Arc::new(self.first.clone()))
    }

    async fn second(&self) -> Result<Stores> {
        Ok(Stores::of(Arc::new(self.trial.connect().await?)))
    }

    async fn reopen(&self) -> Result<Stores> {
        self.second().await
    }

    async fn advance(&self, _by: Duration) -> Result<()> {
        self.trial.set_time(self.trial.options.clock.now()).await
    }

    async fn now(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn finish(&self) -> Result<()> {
        for store in self.trial.opened.lock().await.drain(..) {
            millstream_core::Store::close(&store).await?;
        }
        let drop =
            format!("drop schema if exists {0} cascade; drop schema if exists {0}_boss cascade", self.trial.schema);
        // A session that is just ending, or a vacuum, may hold what is to be dropped.
        for _ in 0..10 {
            if self.trial.run(&drop).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.trial.run(&drop).await
    }
}

fn main() -> ExitCode {
    let databases = world::databases();
    let mut harnesses: Vec<Arc<dyn Harness>> = Vec::new();
    for (version, database) in &databases {
        let url = database.url();
        let with =
            |name: String, pool_size, prepare, again| Postgres { name, url: url.clone(), pool_size, prepare, again };
        harnesses.push(Arc::new(with(format!("pgboss-{version}"), 6, None, false)));
        harnesses.push(Arc::new(with(format!("pgboss-{version}-pool-of-one"), 1, None, true)));
        harnesses.push(Arc::new(with(format!("pgboss-{version}-unprepared"), 4, Some(false), true)));
    }
    millstream_core::conformance::run(harnesses)
}
