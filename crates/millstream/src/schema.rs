//! The schemas of the stores that a configuration names: looked at, and brought up to this build's.

use millstream_core::Result;

use crate::config::{Backend, Config};

/// Where the schema of one store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSchema {
    /// Which store.
    pub store: String,
    /// Its version; `None`: there is none yet.
    pub found: Option<u32>,
    /// The version of this build.
    pub supported: u32,
    /// Names of the migrations that are missing.
    pub pending: Vec<&'static str>,
    /// The SQL of those.
    pub pending_sql: String,
}

impl StoreSchema {
    /// Whether this build works with it as it is.
    pub fn is_current(&self) -> bool {
        self.found == Some(self.supported)
    }
}

impl Config {
    /// The schema of every store, each once; nothing is changed. A store in memory has none to speak of.
    ///
    /// # Errors
    ///
    /// What a store answers, such as [`Error::Schema`](millstream_core::Error::Schema) for a newer one.
    pub async fn schema_status(&self) -> Result<Vec<StoreSchema>> {
        let mut found = Vec::new();
        for backend in self.backends() {
            found.extend(status(backend).await?);
        }
        Ok(found)
    }

    /// Brings the schema of every store up, and answers as [`schema_status`](Self::schema_status) does then.
    ///
    /// # Errors
    ///
    /// As `schema_status`.
    pub async fn schema_up(&self) -> Result<Vec<StoreSchema>> {
        for backend in self.backends() {
            up(backend).await?;
        }
        self.schema_status().await
    }

    /// Every store, each once.
    fn backends(&self) -> Vec<&Backend> {
        let mut backends = vec![&self.queue];
        for backend in [&self.events, &self.state] {
            if !backends.contains(&backend) {
                backends.push(backend);
            }
        }
        backends
    }
}

async fn status(backend: &Backend) -> Result<Option<StoreSchema>> {
    match backend {
        Backend::Memory => Ok(None),
        #[cfg(feature = "sqlite")]
        Backend::Sqlite(path) => {
            let (file, store) = (path.clone(), path.display().to_string());
            let status = blocking(move || millstream_sqlite::schema::status(file)).await?;
            let pending_sql = status.pending_sql();
            let (found, supported, pending) = (status.found, status.supported, status.pending);
            Ok(Some(StoreSchema { store, found, supported, pending, pending_sql }))
        }
        #[cfg(feature = "postgres")]
        Backend::Postgres(postgres) => {
            let options = crate::factory::postgres_options(postgres)?;
            let status = millstream_postgres::schema::status(&options).await?;
            let pending_sql = millstream_postgres::schema::pending(&options).await?;
            let (found, supported, pending) = (status.found, status.supported, status.pending);
            Ok(Some(StoreSchema { store: postgres.to_string(), found, supported, pending, pending_sql }))
        }
        #[cfg(feature = "postgres")]
        Backend::PgBoss(boss) => {
            let options = crate::factory::pgboss_options(boss)?;
            let theirs = millstream_postgres::pgboss::schema::status(&options.postgres, &options.schema).await?;
            let ours = millstream_postgres::schema::status(&options.postgres).await?;
            let mut pending_sql = millstream_postgres::schema::pending(&options.postgres).await?;
            let mut pending = ours.pending;
            if theirs.found.is_none() {
                pending.push("pgboss");
                pending_sql.push_str(&millstream_postgres::pgboss::schema::creation(&options.schema)?);
            } else {
                theirs.check()?;
            }
            // What is missing of pg-boss's own makes it no current schema, either.
            let found = ours.found.filter(|_| theirs.found.is_some());
            Ok(Some(StoreSchema { store: backend.to_string(), found, supported: ours.supported, pending, pending_sql }))
        }
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        other => Err(crate::factory::not_in_this_build(other)),
    }
}

async fn up(backend: &Backend) -> Result<()> {
    match backend {
        Backend::Memory => Ok(()),
        #[cfg(feature = "sqlite")]
        Backend::Sqlite(path) => {
            let file = path.clone();
            blocking(move || millstream_sqlite::schema::up(file)).await.map(drop)
        }
        #[cfg(feature = "postgres")]
        Backend::Postgres(postgres) => {
            let options = crate::factory::postgres_options(postgres)?;
            millstream_postgres::schema::up(&options).await.map(drop)
        }
        #[cfg(feature = "postgres")]
        Backend::PgBoss(boss) => {
            let options = crate::factory::pgboss_options(boss)?;
            millstream_postgres::pgboss::schema::up(&options.postgres, &options.schema).await?;
            millstream_postgres::schema::up(&options.postgres).await.map(drop)
        }
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        other => Err(crate::factory::not_in_this_build(other)),
    }
}

/// SQLite blocks its thread.
#[cfg(feature = "sqlite")]
async fn blocking<T: Send + 'static>(look: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(look).await;
    done.map_err(|error| millstream_core::Error::unavailable("sqlite", "look at the schema", error))?
}
