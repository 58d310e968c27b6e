//! What the store's tasks and callers share: the pool, the statements, the wake-ups.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Object, Pool, PoolError};
use millstream_core::{
    Entropy, Error, JobEvents, QueueEvent, QueueEventKind, QueueName, Realm, Result, Signals as Wakes, StoreOptions,
    SystemEntropy,
};
use tokio::sync::mpsc;
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use crate::{
    calls::Calls,
    connect::Connector,
    events::{append::AppendCall, partitions},
    fault::{Fault, KIND, closed},
    heart::Heart,
    notifier::Notifier,
    options::SchemaName,
    queue::{claim::Floors, enqueue::EnqueueCall},
    rows,
    signals::Signals,
    sql::{On, Param, Sql, Texts},
};

/// How often who hears every signal looks for itself all the same.
const SAFETY: Duration = Duration::from_secs(10);

/// Written once at connecting; what changes inside says who writes it.
pub(crate) struct Shared {
    pub(crate) options: StoreOptions,
    pub(crate) realm: Realm,
    pub(crate) schema: SchemaName,
    /// Tells this handle's own wake-ups from other processes'. It begins with [`Self::layout`].
    pub(crate) origin: String,
    /// Tells this layout's queue events from those of another one in the same schema, whose queues may have the same
    /// names.
    pub(crate) layout: String,
    /// Whether NOTIFY is sent at all.
    pub(crate) notify: bool,
    /// The channel on which pg-boss's own processes wake each other, where the store works their tables.
    pub(crate) boss_channel: Option<String>,
    pub(crate) pool: Pool,
    pub(crate) texts: Texts,
    pub(crate) connector: Arc<Connector>,
    pub(crate) heart: Heart,
    pub(crate) signals: Signals,
    /// Whether the listener hears other processes just now. Written by it.
    pub(crate) hearing: AtomicBool,
    pub(crate) notifier: Notifier,
    pub(crate) floors: Floors,
    pub(crate) calls: Calls,
    pub(crate) enqueues: mpsc::Sender<EnqueueCall>,
    pub(crate) appends: mpsc::Sender<AppendCall>,
    /// Set by whoever appended: there is something to number.
    pub(crate) to_sequence: tokio::sync::Notify,
    /// How often partitions of the log are tried to be made.
    pub(crate) partitions: partitions::Pace,
    /// Whether a pooler shares server connections between transactions: then no session keeps a setting.
    pub(crate) pooled: bool,
    pub(crate) retention_every: Duration,
    /// From where the watching task reads the feed; `None` while nobody watches.
    pub(crate) feed_from: Mutex<Option<i64>>,
    /// Tallies written by this process since the last fold.
    pub(crate) tallies: std::sync::atomic::AtomicU64,
    /// Fired by `close`.
    pub(crate) closing: CancellationToken,
    queues: RwLock<Names>,
}

/// Numbers and names of queues. Queues are never forgotten, so neither are these.
#[derive(Default)]
struct Names {
    ids: HashMap<QueueName, i32>,
    names: HashMap<i32, QueueName>,
}

/// What a [`Shared`] is made of, beside what it makes itself.
pub(crate) struct Parts {
    pub(crate) options: StoreOptions,
    pub(crate) realm: Realm,
    pub(crate) schema: SchemaName,
    pub(crate) notify: bool,
    pub(crate) boss_channel: Option<String>,
    pub(crate) pooled: bool,
    pub(crate) retention_every: Duration,
    pub(crate) pool: Pool,
    pub(crate) texts: Texts,
    pub(crate) connector: Arc<Connector>,
    pub(crate) enqueues: mpsc::Sender<EnqueueCall>,
    pub(crate) appends: mpsc::Sender<AppendCall>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            options,
            realm,
            schema,
            notify,
            boss_channel,
            pooled,
            retention_every,
            pool,
            texts,
            connector,
            enqueues,
            appends,
        } = parts;
        let muted = options.signals == Wakes::Muted;
        let layout = format!("{}/", boss_channel.as_deref().unwrap_or_default());
        Self {
            // From the operating system, not from the options: two processes with one seed are still two.
            origin: format!("{layout}{:016x}", SystemEntropy::new().next_u64()),
            layout,
            notify: notify && !muted,
            signals: Signals::new(muted),
            hearing: AtomicBool::new(false),
            heart: Heart::default(),
            notifier: Notifier::default(),
            floors: Floors::default(),
            calls: Calls::default(),
            to_sequence: tokio::sync::Notify::new(),
            partitions: partitions::Pace::default(),
            pooled,
            retention_every,
            feed_from: Mutex::default(),
            tallies: std::sync::atomic::AtomicU64::new(0),
            closing: CancellationToken::new(),
            queues: RwLock::default(),
            options,
            realm,
            schema,
            boss_channel,
            pool,
            texts,
            connector,
            enqueues,
            appends,
        }
    }

    /// A connection of the pool. Nobody asks for a second one while holding one.
    pub(crate) async fn conn(&self) -> Result<Object, Fault> {
        if self.closing.is_cancelled() {
            return Err(closed().into());
        }
        self.pool.get().await.map_err(|error| match error {
            PoolError::Closed => closed().into(),
            PoolError::Backend(error) => self.connector.fault(error),
            other => Error::unavailable(KIND, "get a connection", other).into(),
        })
    }

    /// A connection; in a transaction where more than one statement has to hold together.
    pub(crate) async fn unit(&self, whole: bool) -> Result<Unit, Fault> {
        let conn = self.conn().await?;
        // Open first: if this future ends before the answer, the connection may be in a transaction already.
        let unit = Unit { conn: Some(conn), open: whole };
        if whole {
            unit.conn()?.batch_execute("begin").await?;
        }
        Ok(unit)
    }

    pub(crate) async fn run(&self, on: On<'_>, sql: Sql, params: &[&(dyn Param + Sync)]) -> Result<Vec<Row>, Fault> {
        Ok(self.texts.run(on, sql, params).await?)
    }

    /// Runs one statement by itself.
    pub(crate) async fn call(
        &self,
        doing: impl Into<String>,
        sql: Sql,
        params: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>> {
        let alone = async || {
            let conn = self.conn().await?;
            self.run(On::Conn(&conn), sql, params).await
        };
        crate::fault::again!(doing, alone())
    }

    /// The numbers of queues that exist, by name.
    pub(crate) async fn ids(&self, on: On<'_>, names: &[&QueueName]) -> Result<HashMap<QueueName, i32>, Fault> {
        let (known, unknown) = self.known(names);
        if unknown.is_empty() {
            return Ok(known);
        }
        let texts: Vec<&str> = unknown.iter().map(|name| name.as_str()).collect();
        let found = self.run(on, Sql::QueueFind, &[&texts]).await?;
        self.learn(&found)?;
        Ok(self.known(names).0)
    }

    /// The numbers of queues, which begin now if they do not exist. Before a transaction, not in it: a number that is
    /// known must not be rolled back.
    pub(crate) async fn ids_made(&self, names: &[&QueueName]) -> Result<HashMap<QueueName, i32>, Fault> {
        let (known, unknown) = self.known(names);
        if unknown.is_empty() {
            return Ok(known);
        }
        let conn = self.conn().await?;
        let texts: Vec<&str> = unknown.iter().map(|name| name.as_str()).collect();
        self.run(On::Conn(&conn), Sql::QueueEnsure, &[&texts]).await?;
        let found = self.run(On::Conn(&conn), Sql::QueueFind, &[&texts]).await?;
        self.learn(&found)?;
        Ok(self.known(names).0)
    }

    /// One queue's number, if it exists.
    pub(crate) async fn id(&self, on: On<'_>, name: &QueueName) -> Result<Option<i32>, Fault> {
        Ok(self.ids(on, &[name]).await?.get(name).copied())
    }

    /// Name of a queue by its number; looked up where it is not known.
    pub(crate) fn name(&self, id: i32) -> Option<QueueName> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).names.get(&id).cloned()
    }

    /// Learns every queue, where a number is not known.
    pub(crate) async fn name_found(&self, on: On<'_>, id: i32) -> Result<QueueName, Fault> {
        if let Some(name) = self.name(id) {
            return Ok(name);
        }
        let all = self.run(on, Sql::QueueList, &[&None::<&str>]).await?;
        let names: Vec<String> = all.iter().map(|row| row.get("name")).collect();
        let found = self.run(on, Sql::QueueFind, &[&names]).await?;
        self.learn(&found)?;
        self.name(id).ok_or_else(|| rows::at("job_live", &id)("queue").corrupt("there is no such queue").into())
    }

    fn known<'a>(&self, names: &[&'a QueueName]) -> (HashMap<QueueName, i32>, Vec<&'a QueueName>) {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let (mut known, mut unknown) = (HashMap::new(), Vec::new());
        for name in names {
            match queues.ids.get(*name) {
                Some(id) => drop(known.insert((*name).clone(), *id)),
                None => unknown.push(*name),
            }
        }
        (known, unknown)
    }

    fn learn(&self, found: &[Row]) -> Result<()> {
        found.iter().try_for_each(|row| self.named(row.get("id"), row.get("name")).map(drop))
    }

    /// Learns the name of a queue, as a statement's own rows have it: who would ask for it after a statement that was a
    /// commit by itself might be cut off between the two, with the jobs moved and nobody told.
    pub(crate) fn named(&self, id: i32, name: &str) -> Result<QueueName> {
        if let Some(known) = self.name(id) {
            return Ok(known);
        }
        let name: QueueName = rows::word(name, rows::at("queue", &id)("name"))?;
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.ids.insert(name.clone(), id);
        queues.names.insert(id, name.clone());
        Ok(name)
    }

    /// There may be work for these queues' workers, or an earlier due time: told after the commit.
    pub(crate) fn ready<'a>(&self, queues: impl IntoIterator<Item = (&'a QueueName, i32)>) {
        for (name, id) in queues {
            self.signals.work(name);
            self.notifier.work(id);
        }
    }

    /// A running job of the queue was cancelled or taken away: told after the commit.
    pub(crate) fn beat_now(&self, name: &QueueName, id: i32) {
        self.signals.beat(name);
        self.notifier.beat(id);
    }

    /// Hands queue events to the watchers of every process, after the commit.
    pub(crate) fn tell(&self, events: Vec<QueueEvent>) {
        if self.closing.is_cancelled() {
            return;
        }
        for event in events {
            match serde_json::to_string(&event) {
                Ok(text) => self.notifier.feed(text),
                Err(error) => tracing::warn!(%error, "a queue event cannot be told"),
            }
            self.signals.tell(event);
        }
    }

    /// Whether such an event goes into the log.
    pub(crate) fn logs(&self, kind: QueueEventKind) -> bool {
        match self.options.job_events {
            JobEvents::Off => false,
            JobEvents::Failures => matches!(kind, QueueEventKind::Failed | QueueEventKind::Stalled),
            JobEvents::All => true,
        }
    }

    /// Whether any event can go into the log: then a move and its events are one transaction.
    pub(crate) fn logs_any(&self) -> bool {
        self.options.job_events != JobEvents::Off
    }

    /// Notes that tallies were written.
    pub(crate) fn tallied(&self) {
        self.tallies.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether signals of other processes arrive, as far as is known: then looking is a safety net.
    pub(crate) fn hears(&self) -> bool {
        self.hearing.load(Ordering::Relaxed)
    }

    /// How often who waits for a signal looks for itself.
    pub(crate) fn poll(&self) -> Duration {
        if self.hears() { SAFETY.max(self.options.poll) } else { self.options.poll }
    }

    pub(crate) fn lease(&self) -> Duration {
        self.options.lease
    }
}

/// A pooled connection, perhaps in a transaction. Dropped before its end, the connection is thrown away, and the
/// server rolls back.
pub(crate) struct Unit {
    conn: Option<Object>,
    open: bool,
}

impl Unit {
    /// A transaction that begins with these commands.
    pub(crate) async fn open(conn: Object, begin: &str) -> Result<Self, Fault> {
        let unit = Self { conn: Some(conn), open: true };
        unit.conn()?.batch_execute(begin).await?;
        Ok(unit)
    }

    pub(crate) fn conn(&self) -> Result<&Object, Fault> {
        self.conn.as_ref().ok_or_else(|| closed().into())
    }

    pub(crate) fn on(&self) -> Result<On<'_>, Fault> {
        self.conn().map(On::Conn)
    }

    pub(crate) async fn commit(mut self) -> Result<(), Fault> {
        if self.open {
            self.conn()?.batch_execute("commit").await?;
            self.open = false;
        }
        Ok(())
    }

    /// Ends without a trace. A failure to do so costs the connection, nothing else.
    pub(crate) async fn rollback(mut self) {
        if self.open
            && let Ok(conn) = self.conn()
            && conn.batch_execute("rollback").await.is_ok()
        {
            self.open = false;
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take().filter(|_| self.open) {
            drop(Object::take(conn));
        }
    }
}

/// Runs a body in a unit, and ends it.
macro_rules! transact {
    ($shared:expr, $whole:expr, $unit:ident => $body:expr) => {{
        let $unit = $shared.unit($whole).await?;
        match $body.await {
            Ok(done) => {
                $unit.commit().await?;
                Ok(done)
            }
            Err(fault) => {
                $unit.rollback().await;
                Err($crate::fault::Fault::from(fault))
            }
        }
    }};
}
pub(crate) use transact;

/// Nothing that runs under these locks can leave their data half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
