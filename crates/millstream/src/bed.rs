//! Where the scenarios of [`bench`](millstream_core::bench) run: stores like those of a configuration, beside them.

use std::{
    process::Command,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use millstream_core::{
    Entropy as _, Result, Stores, SystemEntropy,
    bench::{Bed, Failure, Site},
};

use crate::config::{Backend, Config, PgBossBackend, PostgresBackend};

/// Stores of the kinds that a configuration names, on the same servers and disks, but empty and never its own: a schema
/// or a file with a name of its own for each scenario, removed after it.
pub struct ConfigBed {
    config: Config,
    idle_worker: Option<IdleWorker>,
    /// What is open and has to be removed.
    open: Mutex<Vec<Scratch>>,
}

type IdleWorker = Box<dyn Fn(&str) -> Command + Send + Sync>;

/// What tells one scratch from another, and all of them from what people make.
const MARK: &str = "bench";

impl ConfigBed {
    /// Stores beside those of `config`.
    pub fn new(config: Config) -> Self {
        Self { config, idle_worker: None, open: Mutex::default() }
    }

    /// How a process is started that calls [`bench::idle_worker`](millstream_core::bench::idle_worker) on the stores
    /// of [`aside`](Self::aside) with this name.
    #[must_use]
    pub fn idle_worker(mut self, start: impl Fn(&str) -> Command + Send + Sync + 'static) -> Self {
        self.idle_worker = Some(Box::new(start));
        self
    }

    /// The configuration whose stores have this name.
    pub fn aside(config: &Config, name: &str) -> Config {
        let [queue, events, state] = [&config.queue, &config.events, &config.state].map(|one| beside(one, name));
        Config { queue, events, state, ..config.clone() }
    }

    /// Closes and removes what a scenario left that did not come to its end.
    ///
    /// # Errors
    ///
    /// What a store answers.
    pub async fn clear(&self) -> Result<()> {
        let left = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        for scratch in left {
            scratch.remove().await?;
        }
        Ok(())
    }

    fn take(&self, name: &str) -> Option<Scratch> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|one| one.name == name)?;
        Some(open.swap_remove(at))
    }
}

/// An opened place.
#[derive(Clone)]
struct Scratch {
    name: String,
    config: Config,
    stores: Stores,
}

impl Scratch {
    async fn remove(self) -> Result<()> {
        self.stores.close().await?;
        for backend in [&self.config.queue, &self.config.events, &self.config.state] {
            remove(backend).await?;
        }
        Ok(())
    }
}

/// The stores of a scenario, which the bed can remove too.
struct Own<'a> {
    bed: &'a ConfigBed,
    scratch: Scratch,
}

#[async_trait]
impl Bed for ConfigBed {
    async fn open(&self) -> Result<Box<dyn Site + '_>, Failure> {
        let name = format!("{:08x}", SystemEntropy::new().next_u64() >> 32);
        let config = Self::aside(&self.config, &name);
        let stores = config.open().await?;
        let scratch = Scratch { name, config, stores };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(scratch.clone());
        Ok(Box::new(Own { bed: self, scratch }))
    }
}

#[async_trait]
impl Site for Own<'_> {
    fn stores(&self) -> &Stores {
        &self.scratch.stores
    }

    fn idle_worker(&self) -> Option<Command> {
        let start = self.bed.idle_worker.as_ref()?;
        // What is in memory no other process sees.
        (self.scratch.config.queue != Backend::Memory).then(|| start(&self.scratch.name))
    }

    async fn finish(self: Box<Self>) -> Result<(), Failure> {
        match self.bed.take(&self.scratch.name) {
            Some(scratch) => Ok(scratch.remove().await?),
            None => Ok(()),
        }
    }
}

fn beside(backend: &Backend, name: &str) -> Backend {
    match backend {
        Backend::Memory => Backend::Memory,
        Backend::Sqlite(path) => {
            let mut file = path.file_name().unwrap_or_default().to_owned();
            file.push(format!(".{MARK}-{name}"));
            Backend::Sqlite(path.with_file_name(file))
        }
        Backend::Postgres(postgres) => Backend::Postgres(postgres_beside(postgres, name)),
        Backend::PgBoss(boss) => Backend::PgBoss(PgBossBackend {
            postgres: postgres_beside(&boss.postgres, name),
            schema: schema_beside(&boss.schema, name),
            ..boss.clone()
        }),
    }
}

fn postgres_beside(postgres: &PostgresBackend, name: &str) -> PostgresBackend {
    PostgresBackend { schema: schema_beside(&postgres.schema, name), ..postgres.clone() }
}

/// A schema's name has at most 48 letters.
fn schema_beside(schema: &str, name: &str) -> String {
    let base: String = schema.chars().take(32).collect();
    format!("{base}_{MARK}_{name}")
}

async fn remove(backend: &Backend) -> Result<()> {
    match backend {
        Backend::Memory => Ok(()),
        Backend::Sqlite(path) => {
            // A closed store is one file; one that was not closed has the other two.
            for end in ["", "-wal", "-shm"] {
                let mut file = path.clone().into_os_string();
                file.push(end);
                match std::fs::remove_file(&file) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(millstream_core::Error::unavailable("sqlite", "remove the scratch file", error));
                    }
                    _ => {}
                }
            }
            Ok(())
        }
        #[cfg(feature = "postgres")]
        Backend::Postgres(postgres) => {
            millstream_postgres::schema::remove(&crate::factory::postgres_options(postgres)?).await
        }
        #[cfg(feature = "postgres")]
        Backend::PgBoss(boss) => {
            for schema in [&boss.postgres.schema, &boss.schema] {
                let one = PostgresBackend { schema: schema.clone(), ..boss.postgres.clone() };
                millstream_postgres::schema::remove(&crate::factory::postgres_options(&one)?).await?;
            }
            Ok(())
        }
        #[cfg(not(feature = "postgres"))]
        other => Err(crate::factory::not_in_this_build(other)),
    }
}
