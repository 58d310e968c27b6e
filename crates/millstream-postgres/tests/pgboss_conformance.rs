//! The suite that every store passes, on pg-boss's tables, on each server: as they are, and with a pool of one
//! connection. The broken twins run on the native store.

use std::{process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{
    Result, StoreOptions, Stores, Timestamp,
    conformance::{Backend, Harness},
};
use millstream_postgres::{
    PostgresOptions,
    pgboss::{PgBossOptions, PgBossStore},
};
use tokio::sync::Mutex;

#[path = "world/ground.rs"]
mod ground;
#[path = "world/time.rs"]
mod time;
mod world;

use ground::{Grounds, Lent, SPARE};

struct Postgres {
    name: String,
    grounds: Arc<Grounds>,
    pool_size: usize,
    prepare: Option<bool>,
    /// Whether it is a server that another harness has already.
    again: bool,
}

impl Postgres {
    fn options(&self, schema: &str) -> PgBossOptions {
        let ours = PostgresOptions::new(self.grounds.database().url()).schema(schema).pool_size(self.pool_size);
        let postgres = PostgresOptions { prepare: self.prepare, application_name: schema.to_owned(), ..ours };
        PgBossOptions { postgres, ..PgBossOptions::new("").schema(ground::boss(schema)) }
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
        let lent = self.grounds.lend(options.clock.now()).await?;
        let boss = self.options(lent.schema());
        let trial = Trial { lent, boss, options, opened: Mutex::default() };
        let first = trial.connect().await?;
        Ok(Box::new(Opened { trial, first }))
    }
}

struct Trial {
    lent: Arc<Lent>,
    boss: PgBossOptions,
    options: StoreOptions,
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
        self.trial.lent.set_time(self.trial.options.clock.now()).await
    }

    async fn now(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn finish(&self) -> Result<()> {
        for store in self.trial.opened.lock().await.drain(..) {
            millstream_core::Store::close(&store).await?;
        }
        self.trial.lent.finished();
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut harnesses: Vec<Arc<dyn Harness>> = Vec::new();
    for (version, database) in world::databases() {
        let grounds = Grounds::new(database, true, SPARE);
        let with = |name: String, pool_size, prepare, again| {
            let grounds = grounds.clone();
            Postgres { name, grounds, pool_size, prepare, again }
        };
        // As large as by default: a smaller one has no connections to spare for locks.
        harnesses.push(Arc::new(with(format!("pgboss-{version}"), 10, None, false)));
        harnesses.push(Arc::new(with(format!("pgboss-{version}-pool-of-one"), 1, None, true)));
        harnesses.push(Arc::new(with(format!("pgboss-{version}-unprepared"), 4, Some(false), true)));
    }
    millstream_core::conformance::run(harnesses)
}
