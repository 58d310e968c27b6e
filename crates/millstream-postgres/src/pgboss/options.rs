//! What the store is opened with, and how queues are made.

use std::{collections::BTreeMap, time::Duration};

use millstream_core::{Error, QueueName, Result};
use serde_json::{Map, Value, json};

use crate::options::{PostgresOptions, SchemaName};

/// The database, pg-boss's schema in it, and what this process does for everybody.
///
/// ```
/// use millstream_postgres::pgboss::PgBossOptions;
///
/// let options = PgBossOptions::new("postgres://app@localhost/app").schema("pgboss");
/// assert!(options.check().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct PgBossOptions {
    /// The database, and the schema of Millstream's own tables in it: events, run state, and what is beside pg-boss's.
    pub postgres: PostgresOptions,
    /// pg-boss's schema. `pgboss` by default.
    pub schema: String,
    /// Whether pg-boss's schema is made where there is none; `false`: that is refused.
    pub create: bool,
    /// How queues are made that do not exist yet. One that exists keeps what it says.
    pub queue: QueueSettings,
    /// How many jobs of one group may run at once, by queue: set when the store is opened, as by
    /// [`PgBossStore::set_group_concurrency`](super::PgBossStore::set_group_concurrency). A queue that is not named keeps
    /// its limit.
    pub group_concurrency: BTreeMap<QueueName, u32>,
    /// Whether this process takes turns with pg-boss's own at maintenance: expiry, retention, counts. On by default.
    pub supervise: bool,
    /// How often it looks whether a pass of maintenance is due; a pass of any process counts for all. A minute by default.
    pub supervise_every: Duration,
    /// Whether it takes turns at schedules. On by default.
    pub schedule: bool,
    /// Whether a worker with a backlog of jobs that end within milliseconds starts and completes them in one write: their
    /// rows are locked meanwhile, by up to six connections of a pool of at least ten, and are `active` only where they last.
    /// On by default.
    pub defer_starts: bool,
}

impl PgBossOptions {
    /// The defaults for the database at a URL or `key=value` string.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            postgres: PostgresOptions::new(url),
            schema: "pgboss".to_owned(),
            create: true,
            queue: QueueSettings::default(),
            group_concurrency: BTreeMap::new(),
            supervise: true,
            supervise_every: Duration::from_secs(60),
            schedule: true,
            defer_starts: true,
        }
    }

    /// Sets pg-boss's schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] for the first option that cannot work.
    pub fn check(&self) -> Result<()> {
        self.postgres.check()?;
        self.queue.check()?;
        for (queue, at_most) in &self.group_concurrency {
            super::limit::check(queue, Some(*at_most))?;
        }
        if self.supervise_every.is_zero() {
            return Err(Error::invalid("supervise_every", "no time", "more than none"));
        }
        if self.theirs()?.as_str() == self.postgres.schema {
            return Err(Error::invalid("schema", &*self.schema, "another schema than Millstream's own"));
        }
        Ok(())
    }

    /// pg-boss's schema as Postgres has it: a bare name is lower case.
    pub(crate) fn theirs(&self) -> Result<SchemaName> {
        SchemaName::new(&self.schema.to_ascii_lowercase())
    }
}

/// How a queue of pg-boss's treats jobs that say nothing themselves. Times are whole seconds there: they are rounded up.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// Which jobs of a key may be there or run at once: `standard`, `short`, `singleton`, `stately`, `exclusive` or
    /// `key_strict_fifo`. Fixed once the queue is made.
    pub policy: String,
    /// How often a failed job is tried again: its attempts, less the first.
    pub retry_limit: u32,
    /// The wait before that.
    pub retry_delay: Duration,
    /// Whether the wait grows with each attempt.
    pub retry_backoff: bool,
    /// The longest wait, where it grows.
    pub retry_delay_max: Option<Duration>,
    /// How long one attempt may take. At least a second.
    pub expire: Duration,
    /// How long a job that nobody started is kept. At least a second.
    pub retention: Duration,
    /// How long a finished job is kept; zero: until somebody removes it.
    pub delete_after: Duration,
    /// How long a running job may go without a heartbeat. At least ten seconds.
    pub heartbeat: Option<Duration>,
    /// The queue that takes a copy of each failed job. It has to exist.
    pub dead_letter: Option<String>,
    /// Whether the queue has a table of its own. Fixed once the queue is made.
    pub partition: bool,
    /// Whether pg-boss's own workers are woken by NOTIFY.
    pub notify: bool,
}

/// Millstream's defaults for jobs, and pg-boss's for the rest.
impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            policy: "standard".to_owned(),
            retry_limit: 2,
            retry_delay: Duration::from_secs(1),
            retry_backoff: true,
            retry_delay_max: Some(Duration::from_secs(3600)),
            expire: Duration::from_secs(900),
            retention: Duration::from_secs(14 * 86_400),
            delete_after: Duration::from_secs(7 * 86_400),
            heartbeat: None,
            dead_letter: None,
            partition: false,
            notify: false,
        }
    }
}

const POLICIES: [&str; 6] = ["standard", "short", "singleton", "stately", "exclusive", "key_strict_fifo"];

impl QueueSettings {
    /// # Errors
    ///
    /// [`Error::Invalid`] for the first setting that pg-boss would not take.
    pub fn check(&self) -> Result<()> {
        if !POLICIES.contains(&&*self.policy) {
            return Err(Error::invalid("queue policy", &*self.policy, POLICIES.join(", ")));
        }
        let second = Duration::from_secs(1);
        for (what, time) in [("queue expire", self.expire), ("queue retention", self.retention)] {
            if time < second {
                return Err(Error::invalid(what, time, "at least a second"));
            }
        }
        if let Some(heartbeat) = self.heartbeat.filter(|heartbeat| *heartbeat < 10 * second) {
            return Err(Error::invalid("queue heartbeat", heartbeat, "at least ten seconds"));
        }
        if self.retry_delay_max.is_some() && !self.retry_backoff {
            return Err(Error::invalid(
                "queue retry_delay_max",
                "a longest wait",
                "`retry_backoff`, without which no wait grows",
            ));
        }
        Ok(())
    }

    /// In pg-boss's words.
    pub(crate) fn words(&self) -> Value {
        let seconds = super::words::seconds;
        let mut words = Map::new();
        let all = [
            ("policy", Some(json!(self.policy))),
            ("retryLimit", Some(json!(self.retry_limit))),
            ("retryDelay", Some(json!(seconds(self.retry_delay)))),
            ("retryBackoff", Some(json!(self.retry_backoff))),
            ("retryDelayMax", self.retry_delay_max.map(|max| json!(seconds(max)))),
            ("expireInSeconds", Some(json!(seconds(self.expire)))),
            ("retentionSeconds", Some(json!(seconds(self.retention)))),
            ("deleteAfterSeconds", Some(json!(seconds(self.delete_after)))),
            ("heartbeatSeconds", self.heartbeat.map(|heartbeat| json!(seconds(heartbeat)))),
            ("deadLetter", self.dead_letter.as_ref().map(|queue| json!(queue))),
            ("partition", Some(json!(self.partition))),
            ("notify", Some(json!(self.notify))),
        ];
        for (word, value) in all {
            words.extend(value.map(|value| (word.to_owned(), value)));
        }
        Value::Object(words)
    }
}
