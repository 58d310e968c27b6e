//! The factory: a checked configuration becomes stores and workers.
//!
//! Stores of one realm are one object: seams that name the same file share it, so that a settle carries its events,
//! jobs and state in one transaction. Where they do not, the worker runtime joins them through
//! [`Stores::join`](millstream_core::Stores::join).

use millstream_core::{QueueWorkerOptions, Result, WorkerManager, WorkerOptions};

use crate::config::Config;

impl Config {
    /// Opens every store it names, each once.
    ///
    /// # Errors
    ///
    /// What the store says that could not be opened; those opened before it are closed again.
    #[cfg(feature = "sqlite")]
    pub async fn open(&self) -> Result<millstream_core::Stores> {
        let mut opened = sqlite::Opened::new(self.store_options());
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

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::{collections::HashMap, sync::Arc};

    use millstream_core::{Result, Store, StoreOptions, Stores};
    use millstream_sqlite::SqliteStore;

    use crate::config::{Backend, Config};

    /// The stores opened so far.
    pub(super) struct Opened {
        options: StoreOptions,
        stores: HashMap<Backend, Arc<SqliteStore>>,
    }

    impl Opened {
        pub(super) fn new(options: StoreOptions) -> Self {
            Self { options, stores: HashMap::new() }
        }

        pub(super) async fn stores(&mut self, config: &Config) -> Result<Stores> {
            let queue = self.one(&config.queue).await?;
            let events = self.one(&config.events).await?;
            let state = self.one(&config.state).await?;
            Ok(Stores { queue, events, state })
        }

        async fn one(&mut self, backend: &Backend) -> Result<Arc<SqliteStore>> {
            if let Some(store) = self.stores.get(backend) {
                return Ok(store.clone());
            }
            let store = match backend {
                Backend::Memory => SqliteStore::memory(self.options.clone())?,
                Backend::Sqlite(path) => SqliteStore::open(path, self.options.clone()).await?,
            };
            self.stores.insert(backend.clone(), store.clone());
            Ok(store)
        }

        pub(super) async fn close(self) {
            for store in self.stores.into_values() {
                if let Err(error) = store.close().await {
                    tracing::warn!(%error, "failed to close a store that was opened for nothing");
                }
            }
        }
    }
}
