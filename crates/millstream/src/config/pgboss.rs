//! pg-boss's tables, as the configuration names them.

use std::fmt;

use super::postgres::PostgresBackend;

/// pg-boss's schema where the configuration names none.
pub(super) const SCHEMA_DEFAULT: &str = "pgboss";

/// pg-boss's tables in a Postgres database, and Millstream's own schema beside them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PgBossBackend {
    /// The database, with Millstream's schema: events, run state, and what pg-boss has no column for.
    pub(crate) postgres: PostgresBackend,
    /// pg-boss's schema.
    pub(crate) schema: String,
    pub(crate) words: PgBossWords,
}

/// How queues are made that do not exist yet, in pg-boss's words; what is `None` is as it is by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PgBossWords {
    pub(crate) retry_limit: Option<u64>,
    pub(crate) retry_delay_secs: Option<u64>,
    pub(crate) expire_hours: Option<u64>,
    pub(crate) retention_days: Option<u64>,
    pub(crate) delete_after_days: Option<u64>,
}

impl PgBossBackend {
    /// pg-boss's schema.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The database, with Millstream's own schema.
    pub fn postgres(&self) -> &PostgresBackend {
        &self.postgres
    }
}

impl fmt::Display for PgBossBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {} beside {}", self.schema, self.postgres)
    }
}
