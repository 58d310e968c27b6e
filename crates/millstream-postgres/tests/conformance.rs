//! The suite that every store passes, on each server: as it is, with a pool of one connection, without prepared
//! statements, and through a proxy that cuts connections all the time.

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
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::Database;
use tokio::{sync::Mutex, task::JoinSet};
use tokio_postgres::Client;

#[path = "world/book.rs"]
mod book;
#[path = "world/lasting.rs"]
mod lasting;
#[path = "world/time.rs"]
mod time;
mod world;

use lasting::{Lasting, Weather};

/// Schemas of this run.
static SCHEMAS: AtomicU64 = AtomicU64::new(0);

struct Postgres {
    name: String,
    database: Arc<Database>,
    pool_size: usize,
    prepare: Option<bool>,
    /// Whether connections are cut.
    cut: bool,
    /// Whether it is a server that another harness has already.
    again: bool,
}

impl Postgres {
    fn options(&self, url: &str, schema: &str) -> PostgresOptions {
        let options = PostgresOptions::new(url).schema(schema).pool_size(self.pool_size);
        PostgresOptions { prepare: self.prepare, ..options }
    }
}

#[async_trait]
impl Harness for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn twinned(&self) -> bool {
        !self.again
    }

    fn calm(&self) -> bool {
        !self.cut
    }

    fn truncates(&self) -> bool {
        true
    }

    async fn open(&self, options: StoreOptions) -> Result<Box<dyn Backend>> {
        let schema = format!("trial_{}_{}", std::process::id(), SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let mut postgres = self.options(&self.database.url(), &schema);
        let (client, driver) = world::connect(&self.database.url()).await;
        millstream_postgres::schema::up(&postgres).await?;
        let mut weather = None;
        if self.cut {
            let rough = Weather::begin(&self.database, &schema, options.entropy.next_u64()).await;
            postgres = self.options(&self.database.url_through(rough.address()), &schema);
            weather = Some(Arc::new(rough));
        }
        let opened = Mutex::default();
        let trial = Trial { schema, postgres, options, weather, client, _driver: driver, opened };
        let now = trial.options.clock.now();
        trial.set_time(now).await?;
        let first = trial.connect().await?;
        Ok(Box::new(Opened { trial, first }))
    }
}

/// A schema of one trial.
struct Trial {
    schema: String,
    postgres: PostgresOptions,
    options: StoreOptions,
    weather: Option<Arc<Weather>>,
    client: Client,
    _driver: JoinSet<()>,
    opened: Mutex<Vec<Stores>>,
}

struct Opened {
    trial: Trial,
    first: Stores,
}

impl Trial {
    async fn connect(&self) -> Result<Stores> {
        let stores = match &self.weather {
            Some(weather) => {
                Stores::of(Arc::new(Lasting::connect(weather.clone(), &self.postgres, &self.options).await?))
            }
            None => Stores::of(Arc::new(PostgresStore::connect(self.postgres.clone(), self.options.clone()).await?)),
        };
        self.opened.lock().await.push(stores.clone());
        Ok(stores)
    }

    /// The store's time stands where the trial's clock does.
    async fn set_time(&self, now: Timestamp) -> Result<()> {
        self.run(&time::set_time(&self.schema, now)).await
    }

    async fn run(&self, text: &str) -> Result<()> {
        let failed = |error| Error::unavailable("postgres", "run a test's statement", error);
        self.client.batch_execute(text).await.map_err(failed)
    }
}

#[async_trait]
impl Backend for Opened {
    fn stores(&self) -> Stores {
        self.first.clone()
    }

    async fn second(&self) -> Result<Stores> {
        self.trial.connect().await
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

    async fn truncate(&self, first: u64) -> Result<()> {
        let schema = &self.trial.schema;
        let text = format!(
            "select {schema}.flush_events(true); update {schema}.event_head set first_pos = {first}; \
             delete from {schema}.queue_events where id < {first}"
        );
        self.trial.run(&text).await
    }

    async fn finish(&self) -> Result<()> {
        for stores in self.trial.opened.lock().await.drain(..) {
            stores.close().await?;
        }
        // Whatever the case was about: whoever looks for what a vanished worker held finds it in the book.
        self.trial.run(&book::booked(&self.trial.schema)).await?;
        let drop = format!("drop schema if exists {} cascade", self.trial.schema);
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
    let mut harnesses: Vec<Arc<dyn Harness>> = Vec::new();
    let databases = world::databases();
    let newest = databases.iter().map(|(version, _)| version.major()).max();
    for (version, database) in databases {
        let database = Arc::new(database);
        let named = |suffix: &str| Postgres {
            name: format!("postgres-{version}{suffix}"),
            database: database.clone(),
            pool_size: 6,
            prepare: None,
            cut: false,
            again: !suffix.is_empty(),
        };
        harnesses.push(Arc::new(named("")));
        harnesses.push(Arc::new(Postgres { pool_size: 1, ..named("-pool-of-one") }));
        harnesses.push(Arc::new(Postgres { pool_size: 4, prepare: Some(false), ..named("-unprepared") }));
        if newest == Some(version.major()) {
            harnesses.push(Arc::new(Postgres { cut: true, ..named("-cut") }));
        }
    }
    millstream_core::conformance::run(harnesses)
}
