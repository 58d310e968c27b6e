//! The worker runtime: one for every store of our own.
//!
//! ```text
//!            claim                run               settle
//!   store ─────────► engine ─► handler tasks ─► settler ─────────► store
//!     ▲  wait()        │ one slot a job            │ group commit
//!     │                ▼                           ▼
//!     └── beat ── heart (own OS thread)     held claims
//!     └── rescue, promote_due, fire_schedules, sweep ── keeper
//! ```
//!
//! - The **engine** asks for as many jobs as its queues have free slots, in one call for all of them, and starts a
//!   task for each. Where handlers are short it asks for what they will do in the next moment, too, so that a claim
//!   is worth its commit; what then does not get its turn soon goes back.
//! - The **settler** hands finished jobs to the store: whoever waits while a batch is in flight travels in the next
//!   one. There is no timer. Where many wait, a second batch travels beside the first. Only where a store asks for the
//!   jobs of one claim together, which it does of a backlog of short jobs, do their outcomes wait for each other, for
//!   20 ms at most.
//! - The **heart** beats on an OS thread with a runtime of its own, so that no handler can starve it. It stops
//!   trusting a claim by the process's own monotonic clock: the moment before the last successful beat was sent,
//!   plus the lease, less a margin.
//! - The **keeper** brings back the jobs of crashed holders, and lets delayed jobs and schedules start at their time.
//!
//! A call of the store that panics is a call that failed, for all four of them.
//!
//! A job's cancellation token fires when its claim is lost, when somebody cancels it, when it times out, or when the
//! worker stops ([`CancelReason`]).

pub(crate) mod context;
mod engine;
pub(crate) mod executor;
mod guarded;
pub(crate) mod handler;
mod heart;
mod held;
pub(crate) mod keeper;
mod lanes;
mod manager;
mod options;
mod pace;
mod registry;
mod settler;
mod siblings;

pub use context::{CancelReason, JobContext, JobLog};
pub use handler::{Handler, JobError};
pub use manager::{Worker, WorkerManager};
pub use options::{QueueWorkerOptions, WorkerOptions};
