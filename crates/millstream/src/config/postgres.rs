//! A Postgres database, as the configuration names it.

use std::fmt;

use super::problem::without_password;

/// The schema of a process that names none.
pub(super) const SCHEMA_DEFAULT: &str = "millstream";

/// A Postgres database and the schema in it. Its `Debug` and [`Display`](fmt::Display) never show a password.
#[derive(Clone, PartialEq, Eq, Hash)]
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
    /// How long the log keeps events, whichever seam this database is named by: seams of one database are one store.
    pub(crate) retention_days: Option<u64>,
    pub(crate) retention_mb: Option<u64>,
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
