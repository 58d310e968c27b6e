//! The words, seams and worker runtime of Millstream: jobs, events and flows on the Postgres you already run.
//!
//! - **Words**: [`QueueName`], [`NewJob`], [`Job`], [`ClaimRef`], [`Outcome`], [`Effects`], [`Event`], [`Pattern`],
//!   [`Schedule`].
//! - **Seams**: [`QueueProvider`], [`JobStore`], [`EventStore`], [`StateStore`], over [`Store`].
//! - **Time and randomness** come in by argument: [`Clock`], [`Entropy`].
//!
//! Applications use the `millstream` crate, which re-exports this one.

mod backoff;
mod bus;
mod claim;
mod client;
mod clock;
mod duration_ms;
mod effects;
mod entropy;
mod error;
mod event;
mod group;
mod job;
mod job_group;
mod name;
mod options;
mod outcome;
mod page;
mod pattern;
mod queue;
mod retention;
mod schedule;
mod split;
mod store;
mod stores;
mod worker;

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod limits;
pub mod payload;

pub use backoff::Backoff;
pub use bus::{Bus, BusEvent, BusListener, job_event, queue_stream};
pub use claim::{ClaimRef, Claimed, Progress, Signal, Wake, Want};
pub use client::Queue;
pub use clock::{Clock, ManualClock, Sleep, SystemClock};
pub use effects::{Append, Effects, NewEvent, RunRow, StateOp};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error::{Error, Result, Source};
pub use event::{Appended, Direction, Event, EventQuery, StartFrom};
pub use group::{
    CursorMove, EventOf, GroupConsumer, GroupContext, GroupEvent, GroupHandler, GroupInfo, GroupOptions, GroupSpec,
    Groups, Handled, Member, MemberInfo, MemberView, PARTITIONS_DEFAULT, PARTITIONS_MAX, Parked, ParkedNow,
    PartitionClaim, PartitionInfo, PartitionRead, PartitionRef, Poison, ProjectionTable, ReadFrom,
    batch as group_batch, bucket, each as group_each, partition_of,
};
pub use job::{Enqueued, Job, JobOptions, JobSettings, JobState, NewJob, Removal, RunAt};
pub use job_group::JobGroup;
pub use name::{ConsumerName, GroupName, JobId, JobName, QueueName, StreamName};
pub use options::{
    Admitted, JobEvents, LEASE_DEFAULT, LEASE_MAX, LEASE_MIN, POLL_DEFAULT, QueueDefaults, Signals, StoreOptions,
    check_enqueue_batch,
};
pub use outcome::{Outcome, Settlement, Verdict};
pub use page::Page;
pub use pattern::Pattern;
pub use queue::{JobCounts, JobsQuery, QueueEvent, QueueEventKind, QueueInfo};
pub use retention::{Retention, RetentionHold, RetentionInfo};
pub use schedule::{DueTicks, Missed, Schedule, ScheduleInfo, Timetable};
pub use split::SplitJobStore;
pub use store::{
    BoxStream, Capabilities, Consumer, EventStore, Executor, GroupStore, JobStore, OwnLoop, QueueProvider, Realm,
    StateStore, Store, Work,
};
pub use stores::Stores;
pub use worker::{
    CancelReason, Handler, JobContext, JobError, JobLog, QueueWorkerOptions, Worker, WorkerManager, WorkerOptions,
};

/// A moment, in UTC.
pub type Timestamp = jiff::Timestamp;
