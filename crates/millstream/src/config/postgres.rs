//! A Postgres database, as the configuration names it.

use std::{fmt, path::PathBuf};

use super::problem::without_password;

/// The schema of a process that names none.
pub(super) const SCHEMA_DEFAULT: &str = "millstream";

/// How much of TLS, by libpq's names.
pub(super) const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

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
