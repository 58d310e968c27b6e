//! A store behind a proxy that cuts connections, for callers who try again.
//!
//! Only requests are lost, never answers: so whatever was answered with "unavailable" was not done, and may be called
//! again, whatever it is.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{
    Append, Appended, BoxStream, Capabilities, ClaimRef, Claimed, CursorMove, Effects, Enqueued, Error, Event,
    EventQuery, EventStore, GroupInfo, GroupName, GroupSpec, GroupStore, Job, JobCounts, JobId, JobStore, JobsQuery,
    Member, MemberView, NewJob, Page, Parked, ParkedNow, PartitionClaim, PartitionRead, PartitionRef, Pattern,
    Progress, QueueEvent, QueueInfo, QueueName, QueueProvider, ReadFrom, Realm, Result, Retention, RetentionInfo,
    Schedule, ScheduleInfo, Settlement, Signal, StartFrom, StateOp, StateStore, Store, StoreOptions, Timestamp,
    Verdict, Wake, Want, Work,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{
    Database,
    fault::{Direction, Proxy},
};
use serde_json::Value;

use super::ground::Lent;

/// Messages that pass between two cuts, at most: a call of a few statements is cut every few calls.
const GAP_MAX: u64 = 80;
/// A call that was cut so often in a row is not unlucky.
const TRIES_MAX: u32 = 50;

/// A proxy that cuts, and an eye on the server behind it.
pub(crate) struct Weather {
    proxy: Proxy,
    /// By whose schema's name the server tells connections through this proxy.
    lent: Arc<Lent>,
}

impl Weather {
    pub(crate) fn begin(database: &Database, lent: Arc<Lent>, seed: u64) -> Self {
        let proxy = Proxy::start(database.address()).expect("a proxy");
        proxy.cut_at_random(Direction::ToServer, seed, GAP_MAX);
        Self { proxy, lent }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.proxy.address()
    }

    /// Returns when the server knows of every cut: until then, it holds what a lost transaction had locked. By port, not
    /// by number: a connection that just begins would stand for one that was cut.
    async fn clears(&self) {
        let ports = "select client_port from pg_stat_activity where application_name = $1 and client_port is not null";
        for _ in 0..1000 {
            let there = self.lent.client().query(ports, &[&self.lent.schema()]).await.expect("the server answers");
            let open = self.proxy.server_ports();
            let is_open = |port: i32| u16::try_from(port).is_ok_and(|port| open.contains(&port));
            if there.iter().all(|row| is_open(row.get(0))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// After a call that was cut: when it may be called again, or the error if that went on for too long.
    async fn passes(&self, error: Error, tries: &mut u32) -> Result<()> {
        *tries += 1;
        if *tries > TRIES_MAX {
            return Err(error);
        }
        self.clears().await;
        Ok(())
    }
}

macro_rules! lasting {
    ($weather:expr, $call:expr) => {{
        let mut tries = 0;
        loop {
            match $call.await {
                Err(error) if error.is_transient() => $weather.passes(error, &mut tries).await?,
                answer => break answer,
            }
        }
    }};
}

/// A store whose calls last through cuts.
#[derive(Clone)]
pub(crate) struct Lasting {
    store: PostgresStore,
    groups: Arc<dyn GroupStore>,
    weather: Arc<Weather>,
}

impl Lasting {
    pub(crate) async fn connect(
        weather: Arc<Weather>,
        postgres: &PostgresOptions,
        options: &StoreOptions,
    ) -> Result<Self> {
        let store = lasting!(weather, PostgresStore::connect(postgres.clone(), options.clone()))?;
        Ok(Self { groups: store.groups()?, store, weather })
    }
}

#[async_trait]
impl Store for Lasting {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn realm(&self) -> &Realm {
        self.store.realm()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn sweep(&self) -> Result<u64> {
        lasting!(self.weather, self.store.sweep())
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

#[async_trait]
impl QueueProvider for Lasting {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        lasting!(self.weather, self.store.enqueue(jobs))
    }

    async fn job(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
        lasting!(self.weather, self.store.job(queue, id))
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Page<Job>> {
        lasting!(self.weather, self.store.jobs(query))
    }

    async fn counts(&self, queue: &QueueName) -> Result<JobCounts> {
        lasting!(self.weather, self.store.counts(queue))
    }

    async fn queues(&self) -> Result<Vec<QueueInfo>> {
        lasting!(self.weather, self.store.queues())
    }

    async fn pause(&self, queue: &QueueName) -> Result<()> {
        lasting!(self.weather, self.store.pause(queue))
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        lasting!(self.weather, self.store.resume(queue))
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool> {
        lasting!(self.weather, self.store.is_paused(queue))
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        lasting!(self.weather, self.store.cancel(queue, id))
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        lasting!(self.weather, self.store.retry(queue, id))
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        lasting!(self.weather, self.store.remove(queue, id))
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        lasting!(self.weather, self.store.promote(queue, id))
    }

    async fn schedule_upsert(&self, schedule: &Schedule) -> Result<()> {
        lasting!(self.weather, self.store.schedule_upsert(schedule))
    }

    async fn schedules(&self, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
        lasting!(self.weather, self.store.schedules(queue))
    }

    async fn unschedule(&self, queue: &QueueName, key: &str) -> Result<bool> {
        lasting!(self.weather, self.store.unschedule(queue, key))
    }

    async fn watch(&self, queue: &QueueName) -> Result<BoxStream<QueueEvent>> {
        lasting!(self.weather, self.store.watch(queue))
    }

    fn work(&self) -> Work {
        Work::Shared(Arc::new(self.clone()))
    }
}

#[async_trait]
impl JobStore for Lasting {
    fn lease(&self) -> Duration {
        JobStore::lease(&self.store)
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        lasting!(self.weather, self.store.claim(wants))
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        lasting!(self.weather, self.store.settle(batch))
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        lasting!(self.weather, self.store.beat(held))
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        lasting!(self.weather, self.store.progress(notes))
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        lasting!(self.weather, self.store.release(held))
    }

    async fn rescue(&self) -> Result<u64> {
        lasting!(self.weather, self.store.rescue())
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        lasting!(self.weather, self.store.promote_due())
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        lasting!(self.weather, self.store.fire_schedules())
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        self.store.wait(queues).await
    }
}

#[async_trait]
impl EventStore for Lasting {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        lasting!(self.weather, self.store.append(batch))
    }

    async fn query(&self, query: &EventQuery) -> Result<Vec<Event>> {
        lasting!(self.weather, self.store.query(query))
    }

    async fn subscribe(&self, pattern: &Pattern, from: StartFrom) -> Result<BoxStream<Result<Event>>> {
        lasting!(self.weather, self.store.subscribe(pattern, from))
    }

    async fn head(&self) -> Result<u64> {
        lasting!(self.weather, self.store.head())
    }

    async fn retention(&self) -> Result<RetentionInfo> {
        lasting!(self.weather, self.store.retention())
    }

    async fn set_retention(&self, retention: Option<&Retention>) -> Result<()> {
        lasting!(self.weather, self.store.set_retention(retention))
    }

    async fn expire_events(&self) -> Result<u64> {
        lasting!(self.weather, self.store.expire_events())
    }

    fn groups(&self) -> Result<Arc<dyn GroupStore>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl GroupStore for Lasting {
    async fn ensure_group(&self, spec: &GroupSpec) -> Result<bool> {
        lasting!(self.weather, self.groups.ensure_group(spec))
    }

    async fn group(&self, group: &GroupName) -> Result<Option<GroupInfo>> {
        lasting!(self.weather, self.groups.group(group))
    }

    async fn list_groups(&self) -> Result<Vec<GroupInfo>> {
        lasting!(self.weather, self.groups.list_groups())
    }

    async fn beat_member(&self, member: &Member, held: &[PartitionRef]) -> Result<MemberView> {
        lasting!(self.weather, self.groups.beat_member(member, held))
    }

    async fn claim_partitions(&self, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>> {
        lasting!(self.weather, self.groups.claim_partitions(member, at_most))
    }

    async fn read_partitions(&self, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead> {
        lasting!(self.weather, self.groups.read_partitions(group, from, limit))
    }

    async fn advance(&self, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>> {
        lasting!(self.weather, self.groups.advance(group, moves))
    }

    async fn commit(&self, group: &GroupName, step: &CursorMove, effects: &Effects) -> Result<bool> {
        lasting!(self.weather, self.groups.commit(group, step, effects))
    }

    async fn fail_partition(
        &self,
        group: &GroupName,
        held: PartitionRef,
        at: u64,
        wait: Duration,
        error: &str,
    ) -> Result<Option<u32>> {
        lasting!(self.weather, self.groups.fail_partition(group, held, at, wait, error))
    }

    async fn park(&self, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool> {
        lasting!(self.weather, self.groups.park(group, step, events))
    }

    async fn release_partitions(&self, group: &GroupName, held: &[PartitionRef]) -> Result<()> {
        lasting!(self.weather, self.groups.release_partitions(group, held))
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        lasting!(self.weather, self.groups.leave(member))
    }

    async fn pause_group(&self, group: &GroupName) -> Result<bool> {
        lasting!(self.weather, self.groups.pause_group(group))
    }

    async fn resume_group(&self, group: &GroupName) -> Result<bool> {
        lasting!(self.weather, self.groups.resume_group(group))
    }

    async fn reset_group(&self, group: &GroupName, to: StartFrom) -> Result<u64> {
        lasting!(self.weather, self.groups.reset_group(group, to))
    }

    async fn delete_group(&self, group: &GroupName) -> Result<bool> {
        lasting!(self.weather, self.groups.delete_group(group))
    }

    async fn parked(&self, group: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>> {
        lasting!(self.weather, self.groups.parked(group, after, limit))
    }

    async fn wait_log(&self, after: u64) {
        self.groups.wait_log(after).await;
    }
}

#[async_trait]
impl StateStore for Lasting {
    async fn get(&self, key: &str) -> Result<Option<Value>> {
        lasting!(self.weather, self.store.get(key))
    }

    async fn apply(&self, ops: &[StateOp]) -> Result<()> {
        lasting!(self.weather, self.store.apply(ops))
    }

    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<Arc<str>>> {
        lasting!(self.weather, self.store.list(prefix, limit))
    }

    async fn swap(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool> {
        lasting!(self.weather, self.store.swap(key, old, new))
    }
}
