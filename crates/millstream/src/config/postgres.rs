//! A Postgres database, as the configuration names it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use millstream_core::QueueName;

use super::problem::without_password;

/// The schema of a process that names none.
pub(super) const SCHEMA_DEFAULT: &str = "millstream";

/// How much of TLS, by libpq's names.
pub(super) const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// A Postgres database and the schema in it. Its `Debug` and [`Display`](fmt::Display) never show a password.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct PostgresBackend {
    /// A URL or a `key=value` string; empty where the parts say it all.
    pub(crate) url: String,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) database: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) schema: String,
    pub(crate) pool_size: Option<u32>,
    /// One of [`SSL_MODES`].
    pub(crate) ssl_mode: Option<String>,
    pub(crate) ssl_root_cert: Option<PathBuf>,
    pub(crate) notify: Option<bool>,
    pub(crate) prepare: Option<bool>,
    pub(crate) migrate: Option<bool>,
}

impl PostgresBackend {
    /// The schema that holds the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl fmt::Display for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.url.is_empty() {
            let host = self.host.as_deref().unwrap_or("localhost");
            let database = self.database.as_deref().unwrap_or("(the user's)");
            write!(f, "{database} on {host}, schema {}", self.schema)
        } else {
            write!(f, "{}, schema {}", without_password(&self.url), self.schema)
        }
    }
}

impl fmt::Debug for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresBackend({self})")
    }
}

/// pg-boss's tables in a Postgres database, and how queues are made there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PgBossBackend {
    /// The database, and the schema of Millstream's own tables in it.
    pub(crate) postgres: PostgresBackend,
    pub(crate) schema: String,
    pub(crate) retry_limit: u32,
    pub(crate) retry_delay_secs: u64,
    pub(crate) expire_hours: u64,
    pub(crate) retention_days: u64,
    pub(crate) delete_after_days: u64,
    pub(crate) defer_starts: bool,
    /// How many jobs of one group run at once, by queue.
    pub(crate) group_concurrency: BTreeMap<QueueName, u32>,
}

/// What the Nuxt module's own pg-boss adapter makes queues with.
impl Default for PgBossBackend {
    fn default() -> Self {
        Self {
            postgres: PostgresBackend::default(),
            schema: "pgboss".to_owned(),
            retry_limit: 3,
            retry_delay_secs: 60,
            expire_hours: 24,
            retention_days: 7,
            delete_after_days: 30,
            defer_starts: true,
            group_concurrency: BTreeMap::new(),
        }
    }
}

impl PgBossBackend {
    /// The schema that holds pg-boss's tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// How many jobs of one group of this queue run at once; `None`: as it was set last.
    pub fn group_concurrency(&self, queue: &QueueName) -> Option<u32> {
        self.group_concurrency.get(queue).copied()
    }

    /// The database, and the schema of Millstream's own tables in it.
    pub fn postgres(&self) -> &PostgresBackend {
        &self.postgres
    }
}

impl fmt::Display for PgBossBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {}, beside {}", self.schema, self.postgres)
    }
}
