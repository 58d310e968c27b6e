//! The factory: a checked configuration becomes stores and workers.
//!
//! Stores of one realm are one object: seams that name the same file share it, so that a settle carries its events,
//! jobs and state in one transaction. Where they do not, the worker runtime joins them through
//! [`Stores::join`](millstream_core::Stores::join).

use std::collections::HashMap;

use millstream_core::{QueueWorkerOptions, Result, StoreOptions, Stores, WorkerManager, WorkerOptions};

#[cfg(feature = "postgres")]
use crate::config::PostgresBackend;
use crate::config::{Backend, Config};

impl Config {
    /// Opens every store it names, each once.
    ///
    /// # Errors
    ///
    /// What the store says that could not be opened; those opened before it are closed again.
    pub async fn open(&self) -> Result<Stores> {
        let mut opened = Opened { options: self.store_options(), stores: HashMap::new() };
        let stores = opened.stores(self).await;
        if stores.is_err() {
            opened.close().await;
        }
        stores
    }

    /// How this process works all queues. Queues with numbers of their own: [`configure`](Self::configure).
    pub fn worker_options(&self) -> WorkerOptions {
        WorkerOptions {
            concurrency: self.worker.concurrency,
            autorun: self.worker.autorun,
            poll: self.worker.poll,
            grace: self.worker.grace,
            ..WorkerOptions::default()
        }
    }

    /// Gives each queue that `manager` works what the configuration says of it. Call it once the handlers are
    /// registered: a configured queue without a handler is another process's business.
    ///
    /// # Errors
    ///
    /// What [`WorkerManager::configure`] answers.
    pub fn configure(&self, manager: &WorkerManager) -> Result<()> {
        for queue in manager.queues() {
            if let Some(own) = self.queues.get(&queue) {
                let options = QueueWorkerOptions { concurrency: own.concurrency, autorun: own.autorun };
                manager.configure(&queue, options)?;
            }
        }
        Ok(())
    }
}

/// The stores opened so far: one object for each backend, whatever it is used for.
struct Opened {
    options: StoreOptions,
    stores: HashMap<Backend, Stores>,
}

impl Opened {
    async fn stores(&mut self, config: &Config) -> Result<Stores> {
        let queue = self.one(&config.queue).await?.queue;
        let events = self.one(&config.events).await?.events;
        let state = self.one(&config.state).await?.state;
        Ok(Stores { queue, events, state })
    }

    async fn one(&mut self, backend: &Backend) -> Result<Stores> {
        if let Some(stores) = self.stores.get(backend) {
            return Ok(stores.clone());
        }
        let stores = opened(backend, self.options.clone()).await?;
        self.stores.insert(backend.clone(), stores.clone());
        Ok(stores)
    }

    async fn close(self) {
        for stores in self.stores.into_values() {
            if let Err(error) = stores.close().await {
                tracing::warn!(%error, "failed to close a store that was opened for nothing");
            }
        }
    }
}

async fn opened(backend: &Backend, options: StoreOptions) -> Result<Stores> {
    match backend {
        #[cfg(feature = "sqlite")]
        Backend::Memory => Ok(Stores::of(millstream_sqlite::SqliteStore::memory(options)?)),
        #[cfg(feature = "sqlite")]
        Backend::Sqlite(path) => Ok(Stores::of(millstream_sqlite::SqliteStore::open(path, options).await?)),
        #[cfg(feature = "postgres")]
        Backend::Postgres(postgres) => {
            let store = millstream_postgres::PostgresStore::connect(postgres_options(postgres), options).await?;
            Ok(Stores::of(std::sync::Arc::new(store)))
        }
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        other => {
            drop(options);
            Err(not_in_this_build(other))
        }
    }
}

/// What the driver's crate is opened with.
#[cfg(feature = "postgres")]
pub(crate) fn postgres_options(postgres: &PostgresBackend) -> millstream_postgres::PostgresOptions {
    let base = millstream_postgres::PostgresOptions::default();
    millstream_postgres::PostgresOptions {
        url: postgres.url.clone(),
        host: postgres.host.clone(),
        port: postgres.port,
        database: postgres.database.clone(),
        user: postgres.user.clone(),
        password: postgres.password.clone(),
        schema: postgres.schema.clone(),
        pool_size: postgres.pool_size.map_or(base.pool_size, |size| size as usize),
        retention: millstream_postgres::Retention {
            age: postgres.retention_days.map(|days| std::time::Duration::from_secs(days * 24 * 60 * 60)),
            bytes: postgres.retention_mb.map(|size| size * 1024 * 1024),
            ..base.retention
        },
        ..base
    }
}

/// A configuration that was checked names only stores of this build; one made by hand may not.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
pub(crate) fn not_in_this_build(backend: &Backend) -> millstream_core::Error {
    millstream_core::Error::Config(format!("this build has no store for {backend}"))
}
