//! What every part of the store shares: the native store's machinery, the statements, and what is known of queues.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use millstream_core::{Clock, Enqueued, NewJob, QueueName, Result, SystemClock};
use tokio::sync::mpsc;
use tokio_postgres::{Row, error::SqlState};

use super::{
    deferred::Deferred,
    floors::Floors,
    insert::{self, Entry, Stored},
    options::{PgBossOptions, QueueSettings},
    sql::{BossSql, BossTexts, Pick},
};
use crate::{
    calls::Calls,
    fault::Fault,
    options::SchemaName,
    queue::enqueue::{EnqueueCall, Intake},
    rows::{self, Time},
    shared::Shared,
    sql::{On, Param},
};

pub(crate) use crate::fault::again;

/// How long what is known of a queue is believed; pg-boss believes it as long.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// The table of queues that have none of their own, and the partitioned one of all.
pub(crate) const COMMON: &str = "job_common";

/// Written once at connecting; what changes inside says who writes it.
pub(crate) struct Boss {
    pub(crate) shared: Arc<Shared>,
    pub(crate) theirs: SchemaName,
    pub(crate) texts: BossTexts,
    /// How queues are made.
    pub(crate) queue: QueueSettings,
    /// Whether this process takes turns at schedules.
    pub(crate) schedule: bool,
    /// Whether brief claims are deferred.
    pub(crate) defer_starts: bool,
    pub(crate) enqueues: mpsc::Sender<EnqueueCall<Entry>>,
    pub(crate) calls: Calls,
    pub(crate) floors: Floors,
    pub(crate) deferred: Deferred,
    common: Arc<str>,
    /// The latest intake of this process: the next is later.
    pub(crate) intake: Mutex<Time>,
    known: RwLock<HashMap<QueueName, Known>>,
    clock: SystemClock,
}

/// What is known of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) table: Arc<str>,
    pub(crate) pick: Pick,
    pub(crate) notify: bool,
    until: Duration,
}

impl Boss {
    pub(crate) fn new(
        shared: Arc<Shared>,
        theirs: SchemaName,
        texts: BossTexts,
        options: &PgBossOptions,
        enqueues: mpsc::Sender<EnqueueCall<Entry>>,
    ) -> Self {
        Self {
            shared,
            theirs,
            texts,
            queue: options.queue.clone(),
            schedule: options.schedule,
            defer_starts: options.defer_starts,
            enqueues,
            calls: Calls::default(),
            floors: Floors::default(),
            deferred: Deferred::default(),
            common: COMMON.into(),
            intake: Mutex::new(Time(millstream_core::Timestamp::UNIX_EPOCH)),
            known: RwLock::default(),
            clock: SystemClock::new(),
        }
    }

    /// Runs a statement that names no table of jobs, or the partitioned one.
    pub(crate) async fn run(
        &self,
        on: On<'_>,
        sql: BossSql,
        params: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        self.run_in(on, sql, &self.common, params).await
    }

    /// Runs a statement on one table of jobs.
    pub(crate) async fn run_in(
        &self,
        on: On<'_>,
        sql: BossSql,
        table: &Arc<str>,
        params: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let text = self.texts.get(sql, table, Pick::Plain);
        Ok(self.shared.texts.run_text(on, &text, params).await?)
    }

    /// Runs the claim that a policy asks for.
    pub(crate) async fn run_pick(
        &self,
        on: On<'_>,
        pick: Pick,
        table: &Arc<str>,
        params: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let text = self.texts.get(BossSql::Claim, table, pick);
        Ok(self.shared.texts.run_text(on, &text, params).await?)
    }

    /// Runs one statement by itself.
    pub(crate) async fn call(
        &self,
        doing: impl Into<String>,
        sql: BossSql,
        params: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>> {
        let alone = async || {
            let conn = self.shared.conn().await?;
            self.run(On::Conn(&conn), sql, params).await
        };
        again!(self, doing, alone())
    }

    /// What is known of queues that exist.
    pub(crate) async fn known(&self, on: On<'_>, names: &[&QueueName]) -> Result<HashMap<QueueName, Known>, Fault> {
        let (mut known, stale) = self.cached(names);
        if stale.is_empty() {
            return Ok(known);
        }
        let texts: Vec<&str> = stale.iter().map(|name| name.as_str()).collect();
        let rows = self.run(on, BossSql::QueueFind, &[&Some(texts)]).await?;
        for (name, found) in self.learn(&rows)? {
            known.insert(name, found);
        }
        Ok(known)
    }

    /// What is known of queues, which begin now if they do not exist. Before a transaction, not in it.
    pub(crate) async fn made(&self, names: &[&QueueName]) -> Result<HashMap<QueueName, Known>, Fault> {
        let (known, stale) = self.cached(names);
        if stale.is_empty() {
            return Ok(known);
        }
        let conn = self.shared.conn().await?;
        let on = On::Conn(&conn);
        let known = self.known(on, names).await?;
        let missing: Vec<&QueueName> = names.iter().copied().filter(|name| !known.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(known);
        }
        let words = self.queue.words().to_string();
        for name in missing {
            self.run(on, BossSql::QueueCreate, &[&name.as_str(), &words]).await?;
        }
        self.known(on, names).await
    }

    pub(crate) async fn one(&self, on: On<'_>, name: &QueueName) -> Result<Option<Known>, Fault> {
        Ok(self.known(on, &[name]).await?.remove(name))
    }

    fn cached<'a>(&self, names: &[&'a QueueName]) -> (HashMap<QueueName, Known>, Vec<&'a QueueName>) {
        let cache = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let (mut known, mut stale) = (HashMap::new(), Vec::new());
        for name in names {
            match cache.get(*name).filter(|known| known.until > now) {
                Some(found) => drop(known.insert((*name).clone(), found.clone())),
                None => stale.push(*name),
            }
        }
        (known, stale)
    }

    fn learn(&self, rows: &[Row]) -> Result<Vec<(QueueName, Known)>> {
        let until = self.clock.monotonic() + KNOWN_FOR;
        let mut found = Vec::new();
        for row in rows {
            // A name that only pg-boss takes is none of ours.
            let Ok(name) = QueueName::new(row.get::<_, String>("name")) else { continue };
            let policy: &str = row.get("policy");
            let pick = match Pick::of(policy) {
                Pick::Plain if row.get("limited") => Pick::Limited,
                pick => pick,
            };
            let known =
                Known { table: row.get::<_, &str>("table_name").into(), pick, notify: row.get("notify"), until };
            found.push((name, known));
        }
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(found.clone());
        Ok(found)
    }

    /// Whether the queue's groups are limited, as far as is known.
    pub(crate) fn is_limited(&self, name: &QueueName) -> bool {
        self.cached(&[name]).0.get(name).is_some_and(|known| known.pick == Pick::Limited)
    }

    /// What was known may be no longer true.
    pub(crate) fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the same transaction may succeed when it is tried again: after a clash, where a queue was moved to another
    /// table or removed, or where a policy's index met a row that had just come.
    pub(crate) fn may_again(&self, fault: &Fault) -> bool {
        if fault.is_clash() {
            return true;
        }
        let Fault::Driver(error) = fault else { return false };
        let Some(db) = error.as_db_error() else { return false };
        let constraint = db.constraint().unwrap_or_default();
        let moved = *db.code() == SqlState::UNDEFINED_TABLE
            || (*db.code() == SqlState::FOREIGN_KEY_VIOLATION && constraint == "q_fkey")
            || (*db.code() == SqlState::CHECK_VIOLATION && (constraint.is_empty() || constraint == "cjc"));
        if moved {
            self.forget();
        }
        let crowded = || {
            let index = constraint.rsplit_once("_i").map_or("", |(_, number)| number);
            *db.code() == SqlState::UNIQUE_VIOLATION && ["1", "2", "3", "6", "8"].contains(&index)
        };
        moved || crowded()
    }

    /// There may be work in these queues, now or (`false`) at an earlier due time: told after the commit.
    pub(crate) fn ready<'a>(&self, queues: impl IntoIterator<Item = (&'a QueueName, bool)>) {
        for (name, now) in queues {
            self.shared.signals.work(name);
            let listens = || self.cached(&[name]).0.get(name).is_some_and(|known| known.notify);
            self.shared.notifier.named(name, now && listens());
        }
    }

    /// A running job of the queue was cancelled or taken away: told after the commit.
    pub(crate) fn beat_now(&self, name: &QueueName) {
        self.shared.signals.beat(name);
        self.shared.notifier.named_beat(name);
    }

    pub(crate) fn lease(&self) -> i64 {
        rows::micros(self.shared.lease())
    }
}

impl Intake for Boss {
    type Entry = Entry;
    type Queues = HashMap<QueueName, Known>;
    type Stored = Stored;

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn entry(&self, job: &NewJob) -> Result<Entry> {
        Entry::of(self, job)
    }

    async fn write(&self, entries: &[Entry]) -> Result<Vec<Enqueued>> {
        insert::write(self, entries).await
    }

    async fn queues(&self, entries: &[&Entry]) -> Result<Self::Queues, Fault> {
        insert::known_of(self, entries).await
    }

    async fn insert(&self, on: On<'_>, queues: &Self::Queues, entries: &[&Entry]) -> Result<Stored, Fault> {
        insert::insert(self, on, queues, entries).await
    }

    fn tell(&self, stored: &Stored) {
        stored.tell(self);
    }

    fn may_again(&self, fault: &Fault) -> bool {
        Self::may_again(self, fault)
    }
}
