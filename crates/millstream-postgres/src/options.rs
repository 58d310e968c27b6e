//! What the store is opened with, beside what every store is.

use std::{path::PathBuf, time::Duration};

use millstream_core::{Error, Result};

use crate::tls::SslMode;

/// Where the database is, and how to talk to it.
///
/// ```
/// use millstream_postgres::PostgresOptions;
///
/// let options = PostgresOptions::new("postgres://app@db1,db2/app?sslmode=verify-full&target_session_attrs=read-write")
///     .schema("jobs")
///     .pool_size(8);
/// assert!(options.check().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// A URL or a `key=value` string, as libpq reads it; several hosts are fine. What the other fields name wins.
    pub url: String,
    /// The host, where the URL names none; a path is a directory of sockets.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The database.
    pub database: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The schema that holds everything of Millstream. `millstream` by default.
    pub schema: String,
    /// Connections of the pool. The listener and each worker's heartbeat have one more of their own. 10 by default.
    pub pool_size: usize,
    /// What the server's views show. `millstream` by default.
    pub application_name: String,
    /// How much of TLS; `None`: what the URL says, else [`SslMode::Prefer`].
    pub ssl_mode: Option<SslMode>,
    /// A file of certificates to trust instead of the system's.
    pub ssl_root_cert: Option<PathBuf>,
    /// Whether processes wake each other with LISTEN and NOTIFY; `false`: they poll. On by default, and off by itself,
    /// with a warning, where a pooler is in the way.
    pub notify: bool,
    /// Whether the server keeps prepared statements. `None`: found out by looking; off behind a pooler that shares
    /// server connections between transactions.
    pub prepare: Option<bool>,
    /// Whether [`connect`](crate::PostgresStore::connect) brings the schema up; `false`: it refuses an older one.
    pub migrate: bool,
    /// How long connecting to one host may take. Ten seconds by default.
    pub connect_timeout: Duration,
    /// How often sweeps look for events that are past the log's retention, whatever the number of processes. A minute by
    /// default.
    pub retention_every: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            host: None,
            port: None,
            database: None,
            user: None,
            password: None,
            schema: "millstream".to_owned(),
            pool_size: 10,
            application_name: "millstream".to_owned(),
            ssl_mode: None,
            ssl_root_cert: None,
            notify: true,
            prepare: None,
            migrate: true,
            connect_timeout: Duration::from_secs(10),
            retention_every: Duration::from_secs(60),
        }
    }
}

impl PostgresOptions {
    /// The defaults for the database at a URL or `key=value` string.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Sets the schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Sets how many connections the pool has.
    #[must_use]
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections;
        self
    }

    /// Sets how often sweeps look for events that are past the log's retention.
    #[must_use]
    pub fn retention_every(mut self, every: Duration) -> Self {
        self.retention_every = every;
        self
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] for the first option that cannot work.
    pub fn check(&self) -> Result<()> {
        if self.pool_size == 0 {
            return Err(Error::invalid("pool size", self.pool_size, "at least 1"));
        }
        SchemaName::new(&self.schema)?;
        crate::connect::Target::read(self).map(drop)
    }
}

/// A schema's name: only what needs no escaping anywhere, because it is part of statements and of a channel's name.
#[derive(Clone, Debug)]
pub(crate) struct SchemaName(String);

/// A channel's name has at most 63 bytes.
const SCHEMA_BYTES_MAX: usize = 48;

impl SchemaName {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        match letters && begins && name.len() <= SCHEMA_BYTES_MAX && !name.starts_with("pg_") {
            true => Ok(Self(name.to_owned())),
            false => {
                let expected = "1 to 48 letters, digits and `_`, not a digit first, not beginning with `pg_`";
                Err(Error::invalid("schema", name, expected))
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The one channel of this schema.
    pub(crate) fn channel(&self) -> String {
        format!("millstream_{}", self.0)
    }

    /// A statement with the schema's name in it.
    pub(crate) fn fill(&self, text: &str) -> String {
        let quoted = format!("\"{}\"", self.0);
        text.replace("{schema}", &quoted).replace("{channel}", &self.channel()).replace("{name}", &self.0)
    }
}
