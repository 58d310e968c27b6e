//! The store: queue on pg-boss's tables, events and run state on ours, one realm.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use millstream_core::{
    Append, Appended, BoxStream, Capabilities, ClaimRef, Claimed, Enqueued, Event, EventQuery, EventStore, GroupStore,
    Job, JobCounts, JobId, JobStore, JobsQuery, NewJob, Page, Pattern, Progress, QueueEvent, QueueInfo, QueueName,
    QueueProvider, Realm, Result, Retention, RetentionInfo, Schedule, ScheduleInfo, Settlement, Signal, StartFrom,
    StateOp, StateStore, Store, StoreOptions, Timestamp, Verdict, Wake, Want, Work,
};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_postgres::{Client, types::Type};

use super::{
    beat,
    boss::Boss,
    claim, control, deferred, due, insert, limit, list,
    maintain::{self, Maintained},
    options::PgBossOptions,
    rescue, schedules, schema, settle,
    sql::BossTexts,
    sweep,
};
use crate::{
    commits,
    fault::Fault,
    groups::Groups,
    options::SchemaName,
    queue::{enqueue, watch},
    shared::lock,
    store::PostgresStore,
};

/// The store's name in errors and logs.
pub(crate) const KIND: &str = "pgboss";

/// Jobs on pg-boss's tables, which Node's pg-boss works at the same time; events and run state in Millstream's own schema
/// of the same database, so that effects travel in the settle's transaction.
///
/// A handle is cheap to clone. Any number of processes, of either kind, may work one schema.
///
/// ```no_run
/// use millstream_core::{JobName, NewJob, QueueName, QueueProvider, StoreOptions};
/// use millstream_postgres::pgboss::{PgBossOptions, PgBossStore};
/// use serde_json::json;
///
/// # async fn example() -> millstream_core::Result<()> {
/// let options = PgBossOptions::new("postgres://app@localhost/app");
/// let store = PgBossStore::connect(options, StoreOptions::default()).await?;
/// let mail = QueueName::new("mail")?;
/// store.enqueue(&[NewJob::new(mail.clone(), JobName::from(&mail), json!({ "to": "ada" }))]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PgBossStore {
    inner: Arc<Inner>,
}

struct Inner {
    native: PostgresStore,
    boss: Arc<Boss>,
    /// Ended by the first `close`, or with the last handle.
    tasks: Mutex<JoinSet<()>>,
}

impl PgBossStore {
    /// Connects: pg-boss's schema is used as it stands, or made where there is none; Millstream's own is brought up.
    ///
    /// # Errors
    ///
    /// What [`PostgresStore::connect`] answers, and [`Error::Schema`](millstream_core::Error::Schema) for a schema of
    /// pg-boss's that is too old.
    pub async fn connect(options: PgBossOptions, store: StoreOptions) -> Result<Self> {
        options.check()?;
        let theirs = options.theirs()?;
        let ours = SchemaName::new(&options.postgres.schema)?;
        let mut found = None;
        let native = PostgresStore::connect_beside(options.postgres.clone(), store, async |client: &Client| {
            found = schema::ready(client, &theirs, options.create).await?.found;
            channel(client, &theirs).await.map(Some)
        })
        .await?;
        let texts = BossTexts::new(ours, theirs.clone(), found.unwrap_or(schema::CREATED));
        let (enqueues, to_enqueue) = mpsc::channel(commits::BACKLOG);
        let boss = Arc::new(Boss::new(native.shared().clone(), theirs, texts, &options, enqueues));
        for (queue, at_most) in &options.group_concurrency {
            limit::set(&boss, queue, Some(*at_most)).await?;
        }
        let mut tasks = JoinSet::new();
        let enqueuing = boss.clone();
        tasks.spawn(commits::run(to_enqueue, move |calls| enqueue::commit_calls(enqueuing.clone(), calls)));
        tasks.spawn(deferred::run(boss.clone()));
        if options.supervise {
            tasks.spawn(maintain::run(boss.clone(), options.supervise_every));
        }
        Ok(Self { inner: Arc::new(Inner { native, boss, tasks: Mutex::new(tasks) }) })
    }

    /// One pass of pg-boss's maintenance now, whoever's turn it is: over all queues, or one. Stores that take turns do it by
    /// themselves.
    ///
    /// # Errors
    ///
    /// What the database answers.
    pub async fn supervise(&self, queue: Option<&QueueName>) -> Result<Maintained> {
        let done = maintain::supervise(self.boss(), queue, true).await?;
        maintain::resolve(self.boss()).await?;
        Ok(done)
    }

    pub(crate) fn native(&self) -> &PostgresStore {
        &self.inner.native
    }

    pub(crate) fn boss(&self) -> &Arc<Boss> {
        &self.inner.boss
    }
}

/// The channel on which pg-boss's processes wake each other.
async fn channel(client: &Client, theirs: &SchemaName) -> Result<String> {
    let text = "select 'pgboss_' || left(encode(sha224(convert_to($1::text, 'UTF8')), 'hex'), 24)";
    let rows = client.query_typed(text, &[(&theirs.as_str(), Type::TEXT)]).await;
    Ok(rows.map_err(|error| Fault::from(error).told("name pg-boss's channel"))?[0].get(0))
}

#[async_trait]
impl Store for PgBossStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn realm(&self) -> &Realm {
        self.inner.native.realm()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ready_order: false, ..Capabilities::ALL }
    }

    async fn sweep(&self) -> Result<u64> {
        sweep::sweep(self.boss()).await
    }

    async fn close(&self) -> Result<()> {
        let mut tasks = std::mem::take(&mut *lock(&self.inner.tasks));
        self.boss().shared.closing.cancel();
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        self.boss().deferred.clear();
        self.inner.native.close().await
    }
}

impl std::fmt::Debug for PgBossStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PgBossStore({} in {})", self.boss().theirs.as_str(), self.realm())
    }
}

#[async_trait]
impl QueueProvider for PgBossStore {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        insert::enqueue(self.boss(), jobs).await
    }

    async fn job(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
        list::job(self.boss(), queue, id).await
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Page<Job>> {
        list::jobs(self.boss(), query).await
    }

    async fn counts(&self, queue: &QueueName) -> Result<JobCounts> {
        list::counts(self.boss(), queue).await
    }

    async fn queues(&self) -> Result<Vec<QueueInfo>> {
        list::queues(self.boss()).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<()> {
        control::set_paused(self.boss(), queue, true).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        control::set_paused(self.boss(), queue, false).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool> {
        control::is_paused(self.boss(), queue).await
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::cancel(self.boss(), queue, id).await
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::retry(self.boss(), queue, id).await
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::remove(self.boss(), queue, id).await
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::promote(self.boss(), queue, id).await
    }

    async fn schedule_upsert(&self, schedule: &Schedule) -> Result<()> {
        schedules::upsert(self.boss(), schedule).await
    }

    async fn schedules(&self, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
        schedules::list(self.boss(), queue).await
    }

    async fn unschedule(&self, queue: &QueueName, key: &str) -> Result<bool> {
        schedules::remove(self.boss(), queue, key).await
    }

    async fn watch(&self, queue: &QueueName) -> Result<BoxStream<QueueEvent>> {
        let stream = watch::watch(&self.boss().shared, queue).await?;
        due::begin(self.boss()).await?;
        Ok(stream)
    }

    fn work(&self) -> Work {
        Work::Shared(Arc::new(self.clone()))
    }
}

#[async_trait]
impl JobStore for PgBossStore {
    fn lease(&self) -> std::time::Duration {
        self.boss().shared.lease()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        claim::claim(self.boss(), wants).await
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        settle::settle(self.boss(), batch).await
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        beat::beat(self.boss(), held).await
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        beat::progress(self.boss(), notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        rescue::release(self.boss(), held).await
    }

    async fn rescue(&self) -> Result<u64> {
        rescue::rescue(self.boss()).await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        due::promote_due(self.boss()).await
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        schedules::fire(self.boss()).await
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        self.boss().shared.signals.wait(queues).await
    }
}

#[async_trait]
impl EventStore for PgBossStore {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        self.inner.native.append(batch).await
    }

    async fn query(&self, query: &EventQuery) -> Result<Vec<Event>> {
        self.inner.native.query(query).await
    }

    async fn subscribe(&self, pattern: &Pattern, from: StartFrom) -> Result<BoxStream<Result<Event>>> {
        self.inner.native.subscribe(pattern, from).await
    }

    async fn head(&self) -> Result<u64> {
        self.inner.native.head().await
    }

    fn groups(&self) -> Result<Arc<dyn GroupStore>> {
        Ok(Groups::of(Arc::new(self.clone()), self.boss().clone()))
    }

    async fn retention(&self) -> Result<RetentionInfo> {
        self.inner.native.retention().await
    }

    async fn set_retention(&self, retention: Option<&Retention>) -> Result<()> {
        self.inner.native.set_retention(retention).await
    }

    async fn expire_events(&self) -> Result<u64> {
        self.inner.native.expire_events().await
    }
}

#[async_trait]
impl StateStore for PgBossStore {
    async fn get(&self, key: &str) -> Result<Option<Value>> {
        self.inner.native.get(key).await
    }

    async fn apply(&self, ops: &[StateOp]) -> Result<()> {
        self.inner.native.apply(ops).await
    }

    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<Arc<str>>> {
        StateStore::list(&self.inner.native, prefix, limit).await
    }

    async fn swap(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool> {
        self.inner.native.swap(key, old, new).await
    }
}
