//! The seams: what a store does. Batch-first, dyn-compatible, named by what happens to a job or an event.
//!
//! Two ideas carry them. **Effects are data:** a handler never holds a transaction; what should happen with its
//! outcome is a value, so no driver type crosses a trait and settles of many handlers share one commit. **A realm is
//! where one commit reaches:** stores of one realm write effects inside `settle`; effects for another realm go
//! through the split store.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_core::Stream;
use serde_json::Value;

use crate::{
    Timestamp,
    claim::{ClaimRef, Claimed, Progress, Signal, Wake, Want},
    effects::{Append, Effects, StateOp},
    error::{Error, Result},
    event::{Appended, Event, EventQuery, StartFrom},
    group::{
        CursorMove, GroupInfo, GroupSpec, Member, MemberView, Parked, ParkedNow, PartitionClaim, PartitionRead,
        PartitionRef, ReadFrom,
    },
    job::{Enqueued, Job, NewJob},
    name::{GroupName, JobId, QueueName},
    outcome::{Settlement, Verdict},
    page::Page,
    pattern::Pattern,
    queue::{JobCounts, JobsQuery, QueueEvent, QueueInfo},
    retention::{Retention, RetentionInfo},
    schedule::{Schedule, ScheduleInfo},
};

/// A stream of events or notices that owns what it needs.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send + 'static>>;

/// Where one commit reaches: one Postgres database, one SQLite file, one Redis.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Realm(Arc<str>);

impl Realm {
    /// Stores with equal text share commits.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Realm({})", self.0)
    }
}

/// A closed list of what a store may lack. The conformance suite checks that what is missing is refused by its name,
/// and that everything else works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Cancelled jobs have a state of their own, rather than being failed.
    pub cancelled_state: bool,
    /// `settle` writes effects in its own transaction.
    pub effects_in_settle: bool,
    /// Pause is seen by every process.
    pub shared_pause: bool,
    /// Jobs of equal priority run in the order in which they became ready, rather than in that of their intake: there,
    /// a job that comes back takes its old place.
    pub ready_order: bool,
}

impl Capabilities {
    /// A store that lacks nothing.
    pub const ALL: Self =
        Self { cancelled_state: true, effects_in_settle: true, shared_pause: true, ready_order: true };
}

/// What every store is.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Its name in errors and logs, such as `sqlite`.
    fn kind(&self) -> &'static str;
    /// Where its commits reach.
    fn realm(&self) -> &Realm;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// Removes what is past its time: finished jobs past their [`Removal`](crate::Removal), expired state, old keys.
    /// Answers how many rows.
    async fn sweep(&self) -> Result<u64>;
    /// Ends its tasks, connections, subscriptions and watches. Calls after it answer [`Error::Closed`]; closing again
    /// is fine. What was acknowledged is durable.
    async fn close(&self) -> Result<()>;
}

/// Jobs in, jobs looked at, queues steered.
#[async_trait]
pub trait QueueProvider: Store {
    /// Stores a batch in one transaction: all of them, or none and an error that names which (`jobs[3]: …`). The
    /// answers are in the order of the jobs. Two jobs with one id inside a batch: the second is the duplicate.
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>>;
    /// One job, wherever it is in its life.
    async fn job(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>>;
    /// A page of jobs, newest first. A job that exists throughout and matches throughout is on exactly one page.
    async fn jobs(&self, query: &JobsQuery) -> Result<Page<Job>>;
    /// Exact counts, right in the commit that changes them. All zero for a queue that does not exist.
    async fn counts(&self, queue: &QueueName) -> Result<JobCounts>;
    /// Every queue, by name.
    async fn queues(&self) -> Result<Vec<QueueInfo>>;
    /// No worker of any process claims from the queue until it is resumed, also after a restart. Running jobs go on.
    async fn pause(&self, queue: &QueueName) -> Result<()>;
    /// Ends a pause.
    async fn resume(&self, queue: &QueueName) -> Result<()>;
    /// Whether it is paused.
    async fn is_paused(&self, queue: &QueueName) -> Result<bool>;
    /// Cancels a job. A waiting or delayed one is cancelled at once; a running one is told through `beat`, and is
    /// cancelled when its attempt ends in anything but success. False: there is no such job, or it is finished.
    async fn cancel(&self, queue: &QueueName, id: &JobId) -> Result<bool>;
    /// Runs a finished job again: it is waiting, keeps counting its attempts, and has at least one more. False:
    /// there is no such job, or it is not finished.
    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<bool>;
    /// Removes a job in whatever state; a running one's claim is lost. Its id is free again. False: no such job.
    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<bool>;
    /// Makes a delayed job waiting now. False: there is no such job, or it is not delayed.
    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<bool>;
    /// Writes a schedule. One with the same queue and key is replaced; its next tick is counted from now only if its
    /// expression or time zone changed.
    async fn schedule_upsert(&self, schedule: &Schedule) -> Result<()>;
    /// Every schedule, or a queue's, by queue and key.
    async fn schedules(&self, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>>;
    /// Removes a schedule; jobs it enqueued stay. False: no such schedule.
    async fn unschedule(&self, queue: &QueueName, key: &str) -> Result<bool>;
    /// What happens in the queue, in every process, from when this call returned. A hint for people and pages: a slow
    /// watcher loses the oldest. What must not be missed reads the event store.
    async fn watch(&self, queue: &QueueName) -> Result<BoxStream<QueueEvent>>;
    /// Who runs the loop.
    fn work(&self) -> Work;
}

/// Who runs the loop of a queue's workers.
#[derive(Clone)]
pub enum Work {
    /// Stores of our own: the shared worker runtime drives them.
    Shared(Arc<dyn JobStore>),
    /// A store with a loop of its own (BullMQ), which hands jobs to the same executor.
    Own(Arc<dyn OwnLoop>),
}

/// What the shared worker runtime drives. Every method is a batch and one transaction. It may be called from any
/// async runtime of the process: `beat` is called from the heartbeat's own.
#[async_trait]
pub trait JobStore: Store {
    /// How long a claim holds without a beat.
    fn lease(&self) -> Duration;
    /// Takes ready jobs of all these queues in one call: by priority, then in the order in which they became ready
    /// (or were taken in, see [`Capabilities::ready_order`]);
    /// paused queues skipped. The attempt counts from here.
    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>>;
    /// The fence first; only accepted claims' outcomes and effects are written. One refused effect never fails its
    /// neighbours. The answers are in the order of the batch.
    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>>;
    /// Heartbeat: renews the claims it names, and answers about those that need attention. It never waits behind
    /// other calls of this process.
    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>>;
    /// Notes the progress of running jobs; that of a lost claim is dropped.
    async fn progress(&self, notes: &[Progress]) -> Result<()>;
    /// Gives claims back: ready anew, no attempt burned; cancelled where that was asked for. Claims that no longer hold
    /// are skipped.
    async fn release(&self, held: &[ClaimRef]) -> Result<()>;
    /// Expired claims back to waiting, their attempt burned; failed when attempts are used up, cancelled where that
    /// was asked for. Answers how many.
    async fn rescue(&self) -> Result<u64>;
    /// Delayed jobs that are due become waiting; answers when the next one is due.
    async fn promote_due(&self) -> Result<Option<Timestamp>>;
    /// Schedules that are due enqueue their job, once per tick among all processes; answers when the next is due.
    async fn fire_schedules(&self) -> Result<Option<Timestamp>>;
    /// Returns when there may be work for these queues, or never: a hint, may be lost, doubled, early. Registers at
    /// its first poll, so: poll it once, look, then await it.
    async fn wait(&self, queues: &[QueueName]) -> Wake;
    /// Whether the wake-ups of every process arrive just now, as far as is known. Then who waits looks for itself more
    /// rarely; it never stops looking. False where nothing is known.
    fn hears(&self) -> bool {
        false
    }
}

/// A store with a loop of its own.
#[async_trait]
pub trait OwnLoop: Send + Sync + 'static {
    /// Starts consuming a queue.
    async fn start(
        &self,
        queue: &QueueName,
        concurrency: u32,
        executor: Arc<dyn Executor>,
    ) -> Result<Box<dyn Consumer>>;
}

/// The whole life of one attempt: dispatch by name, timeout, panic, outcome, effects.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Runs one claimed job.
    async fn run(&self, job: Claimed) -> Settlement;
}

/// A running consumer of a store with a loop of its own.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// Takes no more jobs.
    fn pause(&self);
    /// Takes jobs again.
    fn resume(&self);
    /// Takes no more jobs, gives running ones this long, then ends.
    async fn stop(self: Box<Self>, grace: Duration) -> Result<()>;
}

const RETENTION: &str = "retention of events";

/// An append-only log of events in streams.
#[async_trait]
pub trait EventStore: Store {
    /// Appends a batch in one transaction: all of it, or none and an error that names which (`append[1]: …`).
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>>;
    /// Reads a page.
    async fn query(&self, query: &EventQuery) -> Result<Vec<Event>>;
    /// Backfill, then live, as one loop: no gap, no double, in order of position. An error ends the stream.
    async fn subscribe(&self, pattern: &Pattern, from: StartFrom) -> Result<BoxStream<Result<Event>>>;
    /// The position of the last event; 0 in an empty log.
    async fn head(&self) -> Result<u64>;
    /// The log's consumer groups.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] by a store that has none.
    fn groups(&self) -> Result<Arc<dyn GroupStore>> {
        Err(Error::Unsupported { store: self.kind(), what: "consumer groups" })
    }
    /// How long the log keeps events, and which groups are in the way.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] by a store that keeps everything.
    async fn retention(&self) -> Result<RetentionInfo> {
        Err(Error::Unsupported { store: self.kind(), what: RETENTION })
    }
    /// Sets how long the log keeps events, for every process, also after a restart; what they were opened with counts no
    /// more. `None`: it counts again.
    ///
    /// # Errors
    ///
    /// What [`Retention::check`] refuses; [`Error::Unsupported`] for a bound that the store cannot measure.
    async fn set_retention(&self, _retention: Option<&Retention>) -> Result<()> {
        Err(Error::Unsupported { store: self.kind(), what: RETENTION })
    }
    /// Removes what is past its bounds and nobody needs, now rather than with the next [`Store::sweep`]; answers how many
    /// events. Appends go on meanwhile. Who still wants to read them is told [`Error::Truncated`].
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] by a store that keeps everything.
    async fn expire_events(&self) -> Result<u64> {
        Err(Error::Unsupported { store: self.kind(), what: RETENTION })
    }
}

/// What the shared group runtime drives: partitions of groups over one log, their cursors, and who owns them. Every
/// method is one transaction; leases run by the store's clock. It may be called from any async runtime of the process.
///
/// A cursor's row says all: position, epoch, owner, lease, attempts. Only [`claim_partitions`](Self::claim_partitions),
/// [`reset_group`](Self::reset_group) and [`resume_group`](Self::resume_group) raise an epoch, and none lowers one. A
/// method that names a group which does not exist answers [`Error::Invalid`] with `group` in its text, unless it says
/// otherwise.
#[async_trait]
pub trait GroupStore: Store {
    /// Makes a group, with every cursor where it starts; or finds it, and updates its poison policy, attempts,
    /// retention and lease. True: it was made. Two callers at once make one group.
    ///
    /// [`Error::Invalid`] for a spec out of bounds, or one that differs in pattern, types or partitions from the group
    /// that is there; [`Error::Truncated`] and [`Error::LogWentBack`] for a start that the log does not reach, as by
    /// [`subscribe`](EventStore::subscribe).
    async fn ensure_group(&self, spec: &GroupSpec) -> Result<bool>;
    /// One group as people see it; `None`: there is none.
    async fn group(&self, group: &GroupName) -> Result<Option<GroupInfo>>;
    /// Every group, by name.
    async fn list_groups(&self) -> Result<Vec<GroupInfo>>;
    /// Registers a member or renews it for one lease, and the partitions it names; members that were not heard of for
    /// a lease are gone. A partition is lost when its epoch is another; one whose lease ran out, and that nobody took
    /// since, is renewed. It never waits behind other calls of this process.
    async fn beat_member(&self, member: &Member, held: &[PartitionRef]) -> Result<MemberView>;
    /// Takes up to so many partitions that nobody has, each in a new epoch, for one lease. Two members never get one.
    /// A paused group's partitions can be taken.
    async fn claim_partitions(&self, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>>;
    /// Reads on in several partitions at once: one pass over the log from the lowest position on. At most `limit`
    /// events, capped at [`GROUP_READ_MAX`](crate::limits::GROUP_READ_MAX), over at most
    /// [`GROUP_SCAN_MAX`](crate::limits::GROUP_SCAN_MAX) positions. It needs no ownership, because nothing is written.
    ///
    /// [`Error::Truncated`] where retention removed what follows a position, [`Error::LogWentBack`] for a position
    /// beyond the log.
    async fn read_partitions(&self, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead>;
    /// Moves cursors, each on its own: true where epoch and position were as named. A move clears the attempts. False:
    /// fenced, nothing of this move was written. The lease is not asked: while nobody else has the partition, its
    /// owner's work counts.
    async fn advance(&self, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>>;
    /// As [`advance`](Self::advance) of one cursor, with effects in its transaction: both are written, or neither.
    /// False: fenced. A refused effect is the error that a settle would have named, such as `append[0]: …`; nothing was
    /// written then.
    async fn commit(&self, group: &GroupName, step: &CursorMove, effects: &Effects) -> Result<bool>;
    /// Counts a failure on the event behind the cursor, which must stand at `at`, and keeps it from being tried for
    /// `wait`. Answers the attempts so far; `None`: fenced. An attempt counts until the cursor moves, across owners and
    /// restarts. A long error keeps its beginning.
    async fn fail_partition(
        &self,
        group: &GroupName,
        held: PartitionRef,
        at: u64,
        wait: Duration,
        error: &str,
    ) -> Result<Option<u32>>;
    /// Moves a cursor and puts events aside, in one transaction. False: fenced. An event that is parked already stays
    /// as it was.
    async fn park(&self, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool>;
    /// Gives partitions back: anybody may take them at once. Those that are not held in that epoch are skipped. Wakes
    /// nobody by itself: others see it at their next beat.
    async fn release_partitions(&self, group: &GroupName, held: &[PartitionRef]) -> Result<()>;
    /// Removes the member and gives back all it has. Cursors stay. A group or member that does not exist is fine.
    async fn leave(&self, member: &Member) -> Result<()>;
    /// Nothing more is read or started until the group is resumed, in every process, also after a restart. False: no
    /// such group.
    async fn pause_group(&self, group: &GroupName) -> Result<bool>;
    /// Ends a pause, and lets halted partitions try again: their attempts are cleared, and their owners fenced, so that
    /// somebody takes them anew. False: no such group.
    async fn resume_group(&self, group: &GroupName) -> Result<bool>;
    /// Sets every cursor, in a new epoch that nobody owns: whoever is at work is fenced, also where the position is the
    /// same. Clears attempts, and forgets events parked behind the new position, because they come again. Answers the
    /// position.
    async fn reset_group(&self, group: &GroupName, to: StartFrom) -> Result<u64>;
    /// Removes a group with its cursors and what it parked. False: no such group. [`Error::Invalid`] while a member
    /// lives.
    async fn delete_group(&self, group: &GroupName) -> Result<bool>;
    /// Events put aside behind this position, by position.
    async fn parked(&self, group: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>>;
    /// Returns when the log may have grown beyond this position, or never: a hint, may be lost or early.
    async fn wait_log(&self, after: u64);
}

/// Run state: values by key.
#[async_trait]
pub trait StateStore: Store {
    /// A value, unless it is missing or expired.
    async fn get(&self, key: &str) -> Result<Option<Value>>;
    /// Writes a batch in one transaction.
    async fn apply(&self, ops: &[StateOp]) -> Result<()>;
    /// Keys that begin with these bytes, sorted.
    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<Arc<str>>>;
    /// Compare and set: true when the stored value was `old` (`None`: missing) and is `new` now. A value written so
    /// has no time to live.
    async fn swap(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool>;
}
