//! The deliberately broken store: a wrapper over a real one that breaks one promise at a time, and by that shows that
//! the suite can tell.

mod events;
mod groups;
mod jobs;
mod queue;
mod state;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use super::world::Handle;
use crate::{Capabilities, ClaimRef, Claimed, Job, JobId, QueueName, Realm, Result, Store};

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A closed list of broken promises.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault { $($(#[doc = $doc])+ $name,)+ }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

faults! {
    // Jobs in.
    /// The last job of a batch is acknowledged, and gone.
    LostJob,
    /// A job's data and trace are not kept.
    LostData,
    /// Answers of a batch come in another order.
    ShuffledAnswers,
    /// A batch stops in its middle and keeps what it wrote.
    PartialBatch,
    /// An error does not say which element of the batch it is about.
    NamelessErrors,
    /// An empty batch is an error.
    RefusesEmpty,
    /// Jobs without an id all get the same one.
    OneIdForAll,
    /// A second job with an id is taken in under another.
    ForgetsIds,
    /// A duplicate replaces the job it doubles.
    DuplicateOverwrites,
    /// An id stays taken after its job was removed.
    IdsStayTaken,
    /// An id is taken in every queue.
    IdsAcrossQueues,
    /// What no store accepts is swallowed without an error.
    SilentLimit,
    /// Options of a job are ignored.
    ForgetsOptions,
    /// A job's group is not kept.
    ForgetsGroup,
    /// Options of the queue are ignored.
    ForgetsDefaults,
    // Jobs out.
    /// A claimed job is handed out again by the next claim.
    DoubleClaim,
    /// Jobs of a brief claim stay ready for others.
    LooseBrief,
    /// A claimed job does not carry what its handler needs.
    BareClaim,
    /// A claim looks into the first queue only.
    OneQueueOnly,
    /// A claim takes one more than there is room for.
    IgnoresCaps,
    /// Every claim has the same token.
    ReusedToken,
    /// Every life of a job is the same.
    OneLife,
    /// Every attempt is a new life.
    RestlessLife,
    /// Priorities are ignored.
    IgnoresPriority,
    /// A batch is taken in back to front.
    LifoBatch,
    /// A claim answers back to front.
    ReversedClaims,
    /// A job that was given back jumps the queue.
    ReleaseJumpsQueue,
    /// Delays and waits are ignored.
    EarlyDelayed,
    /// Delayed jobs never become due.
    NeverDue,
    /// The next due time is not told.
    NoNextDue,
    // The life of a job.
    /// Whoever held a job last may settle it.
    NoFence,
    /// A settlement is acknowledged, and dropped.
    LostSettle,
    /// Output, error and progress are not kept.
    ForgetsResults,
    /// A failed attempt does not count.
    UncountedAttempt,
    /// A snooze or a release counts as an attempt.
    BurnedAttempt,
    /// A handler's own wait is ignored.
    IgnoresAfter,
    /// An outcome that ends a job lets it run again.
    NeverEnds,
    /// A release frees whoever holds the job.
    UnfencedRelease,
    /// One lost claim makes a release do nothing.
    StrictRelease,
    /// The progress of a lost claim is kept.
    UnfencedProgress,
    /// Expired claims stay.
    NoRescue,
    /// A rescue takes jobs from living workers.
    RescuesLiving,
    /// A beat renews nothing.
    BeatForgets,
    /// A beat renews every claim there is.
    BeatRenewsAll,
    /// A beat never tells that a claim is lost.
    NeverLost,
    /// A beat tells that every claim is lost.
    AlarmedBeat,
    /// A cancel is acknowledged, and dropped.
    IgnoredCancel,
    /// A job that succeeds after its cancel was asked for is cancelled nonetheless.
    CancelWins,
    /// Retry, remove, promote, resume and unschedule are acknowledged, and dropped.
    IgnoredOperator,
    /// Operators are told yes, whatever happened.
    YesMan,
    /// Finished jobs are kept although they should not be.
    KeepsFinished,
    /// A sweep does nothing.
    NeverSweeps,
    /// A sweep removes every finished job.
    SweepsAll,
    /// A job looks for ever as it looked at first.
    StaleJob,
    /// Closing loses jobs, pauses and schedules.
    Amnesia,
    // Queues.
    /// A pause is acknowledged, and dropped.
    ForgottenPause,
    /// A pause is known only to the process that made it.
    LocalPause,
    /// A pause takes jobs from their workers.
    PauseStopsRunning,
    /// Counts are off by one.
    WrongCounts,
    /// What does not exist is an error.
    MissingIsError,
    /// A page misses its last row.
    SkippedRow,
    /// A page begins after so many rows, whatever was inserted before them.
    OffsetPages,
    /// Filters and limits of a listing are ignored.
    IgnoresFilters,
    /// Listings come in another order.
    ReversedListing,
    /// A watcher sees nothing.
    DeafWatch,
    /// A watcher sees the wrong kinds.
    MislabelledWatch,
    /// Wake-ups never come.
    LostWakeUp,
    /// Wake-ups never come, and the store says that it hears them all.
    DeafListener,
    // Schedules.
    /// A tick enqueues two jobs.
    DoubleTick,
    /// A tick enqueues none.
    LostTick,
    /// Writing a schedule again changes nothing.
    KeepsOldSchedule,
    /// Writing a schedule again moves its next tick.
    ForgetsTick,
    /// The policy for missed ticks is ignored.
    IgnoresMissed,
    /// Every schedule runs in UTC.
    IgnoresZone,
    // Effects.
    /// Effects are dropped.
    DroppedEffects,
    /// The effects of a refused claim are written.
    UnfencedEffects,
    /// The outcome is written although an effect was refused.
    OutcomeWithoutEffects,
    /// One refused effect refuses the rest of the batch.
    NeighbourFails,
    // Events.
    /// Some events are never read.
    SkippedEvent,
    /// Some events are read twice.
    DoubleEvent,
    /// Neighbouring events are read in the other order.
    ReorderedEvents,
    /// Fields of an event are not kept.
    BareEvents,
    /// Positions have gaps.
    GapInPositions,
    /// Versions of a stream stand still.
    WrongVersions,
    /// The expected version is not looked at.
    BlindExpected,
    /// An idempotency key is not looked at.
    ForgottenKey,
    /// Filters, bounds and direction of a query are ignored.
    IgnoresQuery,
    /// `_` and `%` mean what they mean in LIKE.
    LikePattern,
    /// A subscription ends with its backfill.
    DeafSubscribe,
    /// Every subscription begins at the start.
    ForgetsStart,
    /// A position beyond the log is as good as its end.
    SilentRestore,
    /// What retention removed is skipped in silence.
    SilentTruncation,
    /// Retention takes what groups still need.
    RetentionForgetsGroups,
    // Groups.
    /// Every consumer has a checkpoint of its own, which ends with it: the original design.
    GroupOfOne,
    /// A claim takes partitions from living owners.
    StealsPartitions,
    /// Every claim is in the same epoch.
    OneEpoch,
    /// Whoever owned a partition last may move its cursor and write effects.
    UnfencedCommit,
    /// Effects are written, and the cursor stays.
    StillCursor,
    /// Every member is told to take everything.
    GreedyShare,
    /// A member that is gone keeps what it had.
    ImmortalMembers,
    /// Consumers of one name are one member.
    NameIsMember,
    /// A read says that it looked up to the log's end, wherever it stopped.
    UpToHead,
    /// A group is given events of every stream and type.
    GroupIgnoresPattern,
    /// A group that is written again begins anew.
    GroupStartsAnew,
    /// Leaving removes the group's cursors.
    UnsubscribeForgets,
    /// A group is deleted whoever is at work.
    DeletesUnderMembers,
    /// Attempts on an event are not counted.
    ForgetsFailures,
    /// A parked event is passed over, and gone.
    LostParked,
    /// Later events of a parked stream are handed out.
    ForgetsParkedStreams,
    /// A reset is acknowledged, and dropped.
    IgnoredReset,
    /// A group is never behind.
    LyingLag,
    /// Groups whose names would be refused today are not listed.
    HidesOldNames,
    // State.
    /// A value stays as it was first written.
    StaleState,
    /// A value never expires.
    EternalState,
    /// Keys come in another order.
    UnsortedKeys,
    /// A swap always succeeds.
    SwapAlways,
    // The store.
    /// A closed store goes on.
    OpenAfterClose,
    /// Closing a second time is an error.
    FussyClose,
    /// What the store can do is denied.
    LyingCapabilities,
}

/// One fault, and what the broken store remembers to commit it: shared by every handle of one world.
pub(super) struct Breakage {
    /// `None`: only unwilling.
    fault: Option<Fault>,
    /// How many commits of groups it still cannot do.
    unwilling: AtomicU32,
    /// Where a consumer crashes, if it does.
    crash: Option<Crash>,
    /// Told when a sweep begins that never ends; `None`: sweeps end.
    sweeping: Option<watch::Sender<bool>>,
    /// Whether the faulty place was reached: a case that fails without it fails for another reason.
    reached: AtomicBool,
    memory: Mutex<Memory>,
}

/// The write of a group at which its consumer crashes.
struct Crash {
    /// Writes until then, with this one.
    left: AtomicU32,
    /// Whether it is written still.
    after: bool,
    told: watch::Sender<bool>,
}

/// What was seen in passing.
#[derive(Default)]
struct Memory {
    held: HashMap<(QueueName, JobId), Claimed>,
    released: HashSet<(QueueName, JobId)>,
    ids: HashSet<(QueueName, JobId)>,
    jobs: HashMap<(QueueName, JobId), Job>,
    values: HashMap<String, Value>,
    groups: groups::GroupMemory,
    /// How many handles there are.
    handles: usize,
    closed: bool,
}

impl Breakage {
    pub(super) fn new(fault: Fault) -> Self {
        Self::of(Some(fault), 0)
    }

    /// Nothing is broken, but the next so many commits of groups cannot be done now.
    pub(super) fn unwilling(times: u32) -> Self {
        Self::of(None, times)
    }

    /// Nothing is broken, but a sweep has so much to do that it never ends.
    pub(super) fn sweeping(told: watch::Sender<bool>) -> Self {
        Self { sweeping: Some(told), ..Self::of(None, 0) }
    }

    /// Nothing is broken, but whoever consumes by it crashes at its nth write, before or after it.
    pub(super) fn crashing(nth: u32, after: bool, told: watch::Sender<bool>) -> Self {
        Self { crash: Some(Crash { left: AtomicU32::new(nth), after, told }), ..Self::of(None, 0) }
    }

    fn of(fault: Option<Fault>, unwilling: u32) -> Self {
        let unwilling = AtomicU32::new(unwilling);
        let reached = AtomicBool::new(false);
        Self { fault, unwilling, crash: None, sweeping: None, reached, memory: Mutex::default() }
    }

    fn is_unwilling(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.unwilling.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Whether the faulty place was reached.
    pub(super) fn reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handle of the broken store.
struct Broken {
    inner: Handle,
    /// Itself, to be handed out behind another seam.
    me: Weak<Broken>,
    /// Which handle of its world it is.
    number: usize,
    breakage: Arc<Breakage>,
    /// Pauses that only this handle knows.
    paused_here: Mutex<HashSet<QueueName>>,
}

/// A handle that breaks one promise.
pub(super) fn wrap(inner: Handle, breakage: Arc<Breakage>) -> Handle {
    let number = {
        let mut memory = breakage.memory();
        memory.handles += 1;
        memory.handles
    };
    let broken =
        Arc::new_cyclic(|me| Broken { inner, me: me.clone(), number, breakage, paused_here: Mutex::default() });
    Handle { queue: broken.clone(), jobs: broken.clone(), events: broken.clone(), state: broken }
}

impl Broken {
    /// Whether this is the promise to break.
    fn has(&self, fault: Fault) -> bool {
        let has = self.breakage.fault == Some(fault);
        if has {
            self.breakage.reached.store(true, Ordering::Relaxed);
        }
        has
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.breakage.memory()
    }

    fn paused_here(&self) -> MutexGuard<'_, HashSet<QueueName>> {
        self.paused_here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every claim that was ever given out and is the latest of its job.
    fn all_held(&self) -> Vec<ClaimRef> {
        self.memory().held.values().map(|claimed| claimed.claim.clone()).collect()
    }

    /// Loses what it knows.
    async fn forget(&self) -> Result<()> {
        for info in self.inner.queue.queues().await? {
            let page = self.inner.queue.jobs(&crate::JobsQuery::of(info.name.clone())).await?;
            for job in page.items {
                self.inner.queue.remove(&job.queue, &job.id).await?;
            }
            self.inner.queue.resume(&info.name).await?;
        }
        for info in self.inner.queue.schedules(None).await? {
            self.inner.queue.unschedule(&info.schedule.queue, &info.schedule.key).await?;
        }
        if let Ok(groups) = self.inner.events.groups() {
            for group in groups.list_groups().await? {
                groups.delete_group(&group.name).await?;
            }
        }
        for key in self.inner.state.list("", 100).await? {
            self.inner.state.apply(&[crate::StateOp::Delete { key }]).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Broken {
    fn kind(&self) -> &'static str {
        self.inner.queue.kind()
    }

    fn realm(&self) -> &Realm {
        self.inner.queue.realm()
    }

    fn capabilities(&self) -> Capabilities {
        if self.has(Fault::LyingCapabilities) {
            return Capabilities {
                cancelled_state: false,
                effects_in_settle: false,
                shared_pause: false,
                ready_order: !self.inner.queue.capabilities().ready_order,
            };
        }
        self.inner.queue.capabilities()
    }

    async fn sweep(&self) -> Result<u64> {
        if let Some(told) = &self.breakage.sweeping {
            told.send_replace(true);
            return std::future::pending().await;
        }
        if self.has(Fault::NeverSweeps) {
            return Ok(0);
        }
        if self.has(Fault::SweepsAll) {
            for info in self.inner.queue.queues().await? {
                let page = self.inner.queue.jobs(&crate::JobsQuery::of(info.name)).await?;
                for job in page.items.iter().filter(|job| job.state.is_finished()) {
                    self.inner.queue.remove(&job.queue, &job.id).await?;
                }
            }
        }
        self.inner.jobs.sweep().await
    }

    async fn close(&self) -> Result<()> {
        if self.has(Fault::OpenAfterClose) {
            return Ok(());
        }
        if self.has(Fault::FussyClose) && std::mem::replace(&mut self.memory().closed, true) {
            return Err(crate::Error::Closed { what: self.kind() });
        }
        if self.has(Fault::Amnesia) {
            self.forget().await?;
        }
        let queue = self.inner.queue.close().await;
        queue.and(self.inner.events.close().await).and(self.inner.state.close().await)
    }
}
