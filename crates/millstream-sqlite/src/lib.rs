//! Millstream's queue, events and run state in one SQLite file, or in memory: [`SqliteStore`].
//!
//! - **Durable when acknowledged**: `synchronous=FULL`, one writing thread with group commit.
//! - **Any number of processes** may open one file: everything is right by transactions alone, and a commit of one
//!   wakes the others within some milliseconds. SQLite has one write lock a file: a process that is *stopped* (not
//!   killed) inside a transaction keeps it, and the others' writes answer
//!   [`Error::Unavailable`](millstream_core::Error::Unavailable) until it goes on. Workers try again by themselves.
//! - **Times** are kept to the microsecond.
//!
//! [`schema`] looks at a file's schema version and brings it up to this build's.

mod events;
mod fault;
mod groups;
mod heart;
mod inbox;
#[cfg(test)]
mod plans;
mod queue;
mod reader;
mod rows;
pub mod schema;
mod shared;
mod signals;
mod sql;
mod state;
mod store;
mod stream;
mod tx;
mod watcher;
mod writer;

pub use store::SqliteStore;
