//! Where the scenarios run: each in stores of its own, which are gone afterwards.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use millstream_core::{
    StoreOptions, Stores,
    bench::{self, Gauge, Site},
};
use millstream_postgres::{
    PostgresOptions, PostgresStore,
    pgboss::{PgBossOptions, PgBossStore, QueueSettings},
};
use millstream_servers::{Postgres, Version, postgres::Database};
use millstream_sqlite::SqliteStore;
use tempfile::TempDir;

use crate::{Failure, probe::Probe};

/// As on a server that somebody looks after; the rest is Postgres's default, all of it durable.
const SETTINGS: &[(&str, &str)] =
    &[("shared_buffers", "512MB"), ("max_wal_size", "4GB"), ("dynamic_shared_memory_type", "posix")];

/// Postgres at a URL, a private server, or SQLite.
pub struct Bed {
    kind: Kind,
    /// Whether the jobs lie on pg-boss's tables.
    boss: bool,
    /// The program that an idle worker is.
    program: Option<PathBuf>,
    made: AtomicU32,
}

enum Kind {
    Postgres { url: String, _private: Option<Box<Private>> },
    Sqlite { folder: TempDir },
}

/// The database first: it is dropped while its server runs.
struct Private {
    _database: Database,
    _server: Postgres,
}

/// Where a process of its own finds the stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A schema of a database.
    Postgres {
        /// The database.
        url: String,
        /// The schema.
        schema: String,
        /// Whether the jobs lie on pg-boss's tables, in a schema beside it.
        boss: bool,
    },
    /// A file.
    Sqlite(PathBuf),
}

/// Stores of one scenario.
pub(crate) struct Opened {
    pub(crate) stores: Stores,
    pub(crate) place: Place,
    pub(crate) probe: Option<Probe>,
    program: Option<PathBuf>,
}

impl Bed {
    /// A scratch database; the server's CPU is seen only if it runs on this machine.
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::of(Kind::Postgres { url: url.into(), _private: None })
    }

    /// A server of its own, which ends with the value.
    ///
    /// # Errors
    ///
    /// What was tried, where none can be had.
    pub fn private(version: Version, small: bool) -> Result<Self, Failure> {
        let settings = if small { &[] } else { SETTINGS };
        let server = Postgres::start_with(version, settings)?;
        let database = server.create_database();
        let url = database.url();
        let private = Box::new(Private { _database: database, _server: server });
        Ok(Self::of(Kind::Postgres { url, _private: Some(private) }))
    }

    /// A file for each scenario, in a temporary folder.
    ///
    /// # Errors
    ///
    /// What the system answers.
    pub fn sqlite() -> Result<Self, Failure> {
        Ok(Self::of(Kind::Sqlite { folder: TempDir::with_prefix("millstream-bench-")? }))
    }

    /// The machine and the server, for who reads the figures.
    ///
    /// # Errors
    ///
    /// What the server answers.
    pub async fn machine(&self) -> Result<String, Failure> {
        let server = match self.url() {
            Some(url) => format!("PostgreSQL {}", Probe::connect(url).await?.version().await?),
            None => "SQLite".to_owned(),
        };
        Ok(format!("{}, {server}", bench::machine::described()))
    }

    /// With the jobs on pg-boss's tables; what is Millstream's own lies beside them.
    #[must_use]
    pub fn pgboss(mut self) -> Self {
        self.boss = true;
        self
    }

    /// With the program whose `--idle-worker` the idle scenario looks at.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    fn of(kind: Kind) -> Self {
        Self { kind, boss: false, program: None, made: AtomicU32::new(0) }
    }

    /// Whether the jobs lie on pg-boss's tables.
    pub(crate) fn is_pgboss(&self) -> bool {
        self.boss
    }

    /// The database, where it is Postgres.
    pub(crate) fn url(&self) -> Option<&str> {
        match &self.kind {
            Kind::Postgres { url, .. } => Some(url),
            Kind::Sqlite { .. } => None,
        }
    }
}

#[async_trait]
impl bench::Bed for Bed {
    async fn open(&self) -> Result<Box<dyn Site + '_>, Failure> {
        Ok(Box::new(self.opened().await?))
    }
}

impl Bed {
    pub(crate) async fn opened(&self) -> Result<Opened, Failure> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("bench_{}_{number}", std::process::id());
        let place = match &self.kind {
            Kind::Postgres { url, .. } => Place::Postgres { url: url.clone(), schema: name, boss: self.boss },
            Kind::Sqlite { folder } => Place::Sqlite(folder.path().join(name)),
        };
        let probe = match self.url() {
            Some(url) => Some(Probe::connect(url).await?),
            None => None,
        };
        Ok(Opened { stores: place.open().await?, place, probe, program: self.program.clone() })
    }
}

/// pg-boss's schema beside one of ours.
pub(crate) fn boss_of(schema: &str) -> String {
    format!("{schema}_boss")
}

impl Place {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn open(&self) -> Result<Stores, Failure> {
        Ok(match self {
            Self::Postgres { url, schema, boss: true } => {
                let options = PgBossOptions {
                    postgres: PostgresOptions::new(url).schema(schema),
                    schema: boss_of(schema),
                    queue: QueueSettings { notify: true, ..QueueSettings::default() },
                    ..PgBossOptions::new(url)
                };
                Stores::of(Arc::new(PgBossStore::connect(options, StoreOptions::default()).await?))
            }
            Self::Postgres { url, schema, boss: false } => {
                let options = PostgresOptions::new(url).schema(schema);
                Stores::of(Arc::new(PostgresStore::connect(options, StoreOptions::default()).await?))
            }
            Self::Sqlite(path) => Stores::of(SqliteStore::open(path as &Path, StoreOptions::default()).await?),
        })
    }
}

#[async_trait]
impl Site for Opened {
    fn stores(&self) -> &Stores {
        &self.stores
    }

    fn gauge(&self) -> Option<&dyn Gauge> {
        self.probe.as_ref().map(|probe| probe as &dyn Gauge)
    }

    fn idle_worker(&self) -> Option<Command> {
        let mut command = Command::new(self.program.as_ref()?);
        match &self.place {
            Place::Postgres { url, schema, boss } => {
                command.args(["--idle-worker", schema, "--url", url]).args(boss.then_some("--pgboss"))
            }
            Place::Sqlite(path) => command.arg("--idle-worker").arg(path).arg("--sqlite"),
        };
        Some(command)
    }

    async fn finish(self: Box<Self>) -> Result<(), Failure> {
        self.stores.close().await?;
        if let (Place::Postgres { schema, boss, .. }, Some(probe)) = (&self.place, &self.probe) {
            probe.run(&format!("drop schema {schema} cascade")).await?;
            if *boss {
                probe.run(&format!("drop schema {} cascade", boss_of(schema))).await?;
            }
        }
        Ok(())
    }
}
