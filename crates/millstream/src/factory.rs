//! The factory: a checked configuration becomes stores and workers.
//!
//! Stores of one realm are one object: seams that name the same file share it, so that a settle carries its events,
//! jobs and state in one transaction. Where they do not, the worker runtime joins them through
//! [`Stores::join`](millstream_core::Stores::join).

use std::collections::HashMap;

use millstream_core::{QueueWorkerOptions, Result, StoreOptions, Stores, WorkerManager, WorkerOptions};

use crate::config::{Backend, Config};
#[cfg(feature = "postgres")]
use crate::config::{PgBossBackend, PostgresBackend};

impl Config {
    /// Opens every store it names, each once.
    ///
    /// # Errors
    ///
    /// What the store says that could not be opened; those opened before it are closed again.
    pub async fn open(&self) -> Result<Stores> {
        let mut opened = Opened { config: self, stores: HashMap::new() };
        let stores = opened.stores().await;
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
                let options = QueueWorkerOptions {
                    concurrency: own.concurrency,
                    autorun: own.autorun,
                    group_concurrency: own.local_group_concurrency,
                };
                manager.configure(&queue, options)?;
            }
        }
        Ok(())
    }
}

/// The stores opened so far: one object for each backend, whatever it is used for.
struct Opened<'a> {
    config: &'a Config,
    stores: HashMap<Backend, Stores>,
}

impl Opened<'_> {
    async fn stores(&mut self) -> Result<Stores> {
        let queue = self.one(&self.config.queue).await?.queue;
        let events = self.one(&self.config.events).await?.events;
        let state = self.one(&self.config.state).await?.state;
        Ok(Stores { queue, events, state })
    }

    async fn one(&mut self, backend: &Backend) -> Result<Stores> {
        if let Some(stores) = self.stores.get(backend) {
            return Ok(stores.clone());
        }
        let mut options = self.config.store_options();
        // Also where it is not the same: two ways to write one database are two objects, and either may be the one that
        // sweeps. A log that nobody uses has nothing to lose. Another adapter may not know the bounds.
        if backend.is_kin(&self.config.events) {
            options.retention = self.config.retention;
        }
        let stores = opened(backend, options).await?;
        #[cfg(feature = "postgres")]
        if let Backend::PgBoss(boss) = backend {
            // Events and state beside pg-boss's tables are the same object's.
            self.stores.insert(Backend::Postgres(boss.postgres.clone()), stores.clone());
        }
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
            let store = millstream_postgres::PostgresStore::connect(postgres_options(postgres)?, options).await?;
            Ok(Stores::of(std::sync::Arc::new(store)))
        }
        #[cfg(feature = "postgres")]
        Backend::PgBoss(boss) => {
            let store = millstream_postgres::pgboss::PgBossStore::connect(pgboss_options(boss)?, options).await?;
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
pub(crate) fn postgres_options(postgres: &PostgresBackend) -> Result<millstream_postgres::PostgresOptions> {
    let base = millstream_postgres::PostgresOptions::default();
    Ok(millstream_postgres::PostgresOptions {
        url: postgres.url.clone(),
        host: postgres.host.clone(),
        port: postgres.port,
        database: postgres.database.clone(),
        user: postgres.user.clone(),
        password: postgres.password.clone(),
        schema: postgres.schema.clone(),
        pool_size: postgres.pool_size.map_or(base.pool_size, |size| size as usize),
        ssl_mode: postgres.ssl_mode.as_deref().map(millstream_postgres::SslMode::read).transpose()?,
        ssl_root_cert: postgres.ssl_root_cert.clone(),
        notify: postgres.notify.unwrap_or(base.notify),
        prepare: postgres.prepare.or(base.prepare),
        migrate: postgres.migrate.unwrap_or(base.migrate),
        ..base
    })
}

/// What the store on pg-boss's tables is opened with.
#[cfg(feature = "postgres")]
pub(crate) fn pgboss_options(boss: &PgBossBackend) -> Result<millstream_postgres::pgboss::PgBossOptions> {
    use millstream_postgres::pgboss::{PgBossOptions, QueueSettings};
    use std::time::Duration;

    let days = |days: u64| Duration::from_secs(days * 86_400);
    Ok(PgBossOptions {
        postgres: postgres_options(&boss.postgres)?,
        queue: QueueSettings {
            retry_limit: boss.retry_limit,
            retry_delay: Duration::from_secs(boss.retry_delay_secs),
            retry_backoff: false,
            retry_delay_max: None,
            expire: Duration::from_secs(boss.expire_hours * 3600),
            retention: days(boss.retention_days),
            delete_after: days(boss.delete_after_days),
            ..QueueSettings::default()
        },
        group_concurrency: boss.group_concurrency.clone(),
        defer_starts: boss.defer_starts,
        ..PgBossOptions::new("").schema(&boss.schema)
    })
}

/// A configuration that was checked names only stores of this build; one made by hand may not.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
pub(crate) fn not_in_this_build(backend: &Backend) -> millstream_core::Error {
    millstream_core::Error::Config(format!("this build has no store for {backend}"))
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use std::path::Path;

    use millstream_postgres::SslMode;

    use super::*;
    use crate::config::Sources;

    #[test]
    fn what_the_configuration_says_of_postgres_reaches_the_store() {
        let set = |keys: &[(&str, &str)]| {
            let sources = Sources::default().directory("/etc").set("queue.postgres.host", "db");
            keys.iter().fold(sources, |sources, (key, value)| sources.set(format!("queue.postgres.{key}"), *value))
        };
        let options = |keys: &[(&str, &str)]| match Config::load(&set(keys)).unwrap().queue {
            Backend::Postgres(postgres) => postgres_options(&postgres).unwrap(),
            other => panic!("{other}"),
        };
        let base = options(&[]);
        assert_eq!((base.ssl_mode, base.ssl_root_cert), (None, None));
        assert_eq!((base.notify, base.prepare, base.migrate), (true, None, true));

        let off = [("notify", "false"), ("prepare", "false"), ("migrate", "false")];
        let own = options(&[&off[..], &[("sslmode", "verify-ca"), ("sslrootcert", "ca.pem")]].concat());
        assert_eq!(
            (own.ssl_mode, own.ssl_root_cert.as_deref()),
            (Some(SslMode::VerifyCa), Some(Path::new("/etc/ca.pem")))
        );
        assert_eq!((own.notify, own.prepare, own.migrate), (false, Some(false), false));
        let system = options(&[("sslrootcert", "system")]).ssl_root_cert;
        assert_eq!(system.as_deref(), Some(Path::new("system")));

        let refused = Config::load(&set(&[("sslmode", "maybe")])).unwrap_err().to_string();
        assert!(refused.contains("queue.postgres.sslmode: got \"maybe\", expected `disable`"), "{refused}");
    }
}
