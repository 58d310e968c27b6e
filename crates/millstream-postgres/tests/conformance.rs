//! The suite that every store passes, on each server: as it is, with a pool of one connection, without prepared
//! statements, and through a proxy that cuts connections all the time.

use std::{process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{
    Result, StoreOptions, Stores, Timestamp,
    conformance::{Backend, Harness},
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use tokio::sync::Mutex;

#[path = "world/book.rs"]
mod book;
#[path = "world/ground.rs"]
mod ground;
#[path = "world/lasting.rs"]
mod lasting;
#[path = "world/time.rs"]
mod time;
mod world;

use ground::{Grounds, Lent, SPARE};
use lasting::{Lasting, Weather};

struct Postgres {
    name: String,
    grounds: Arc<Grounds>,
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
        PostgresOptions { prepare: self.prepare, application_name: schema.to_owned(), ..options }
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
        let lent = self.grounds.lend(options.clock.now()).await?;
        let database = self.grounds.database();
        let (url, weather) = match self.cut {
            true => {
                let rough = Weather::begin(database, lent.clone(), options.entropy.next_u64());
                (database.url_through(rough.address()), Some(Arc::new(rough)))
            }
            false => (database.url(), None),
        };
        let postgres = self.options(&url, lent.schema());
        let trial = Trial { lent, postgres, options, weather, opened: Mutex::default() };
        let first = trial.connect().await?;
        Ok(Box::new(Opened { trial, first }))
    }
}

struct Trial {
    lent: Arc<Lent>,
    postgres: PostgresOptions,
    options: StoreOptions,
    weather: Option<Arc<Weather>>,
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
        self.trial.lent.set_time(self.trial.options.clock.now()).await
    }

    async fn now(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn truncate(&self, first: u64) -> Result<()> {
        let schema = self.trial.lent.schema();
        let text = format!(
            "select {schema}.flush_events(true); update {schema}.event_head set first_pos = {first}; \
             delete from {schema}.queue_events where id < {first}"
        );
        self.trial.lent.run(&text).await
    }

    async fn finish(&self) -> Result<()> {
        for stores in self.trial.opened.lock().await.drain(..) {
            stores.close().await?;
        }
        // Whatever the case was about: whoever looks for what a vanished worker held finds it in the book.
        self.trial.lent.run(&book::booked(self.trial.lent.schema())).await?;
        self.trial.lent.finished();
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut harnesses: Vec<Arc<dyn Harness>> = Vec::new();
    let databases = world::databases();
    let newest = databases.iter().map(|(version, _)| version.major()).max();
    for (version, database) in databases {
        let grounds = Grounds::new(database, false, SPARE);
        let named = |suffix: &str| Postgres {
            name: format!("postgres-{version}{suffix}"),
            grounds: grounds.clone(),
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
