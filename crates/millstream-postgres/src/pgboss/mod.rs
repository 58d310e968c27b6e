//! pg-boss's tables: jobs that Node's pg-boss and Millstream send to each other.
//!
//! - **Wire-compatible**: states, retries, policies, dead letters, schedules and maintenance as pg-boss has them, so that
//!   its own processes and ours work one queue side by side.
//! - **Nothing of ours is in their tables**; what they have no column for is beside them, in Millstream's own schema.
//! - **One realm** with Millstream's events and run state in the same database: effects are written by `settle`.
//! - **A claim is fenced by pg-boss's own attempt** (`retry_count`) **and by when it started**, which is new at each claim.

mod beat;
mod boss;
mod call;
mod claim;
mod control;
mod deferred;
mod due;
mod floors;
mod held;
mod insert;
mod limit;
mod list;
mod literal;
mod maintain;
mod moves;
mod options;
mod own;
mod rescue;
mod schedules;
pub mod schema;
mod settle;
pub(crate) mod sql;
mod store;
mod sweep;
mod words;

pub use maintain::Maintained;
pub use options::{PgBossOptions, QueueSettings};
pub use own::{Redrive, SendOptions};
pub use store::PgBossStore;
