//! Millstream's queue, events and run state in one schema of a Postgres database: [`PostgresStore`].
//!
//! - **One realm**: outcome, events, next jobs, run state and flow index are one commit.
//! - **Durable when acknowledged**; whoever comes while a commit is under way travels in the next one.
//! - **Any number of processes**; a commit of one wakes the others by one NOTIFY, sent after it.
//! - **Time is the database's**, to the microsecond: the function `now()` of the schema, which is one built-in call,
//!   inlined. A test that moves the time replaces the function.
//!
//! [`schema`] looks at a schema's version and brings it up to this build's.

mod call;
mod calls;
mod cause;
mod commits;
mod connect;
mod effects;
mod events;
mod fault;
mod groups;
mod heart;
mod listener;
mod notifier;
mod options;
pub mod pgboss;
mod queue;
mod rows;
pub mod schema;
mod shared;
mod signals;
mod sql;
mod state;
mod store;
mod stream;
mod tls;

pub use call::SqlCall;
pub use options::PostgresOptions;
pub use store::PostgresStore;
pub use tls::SslMode;

/// The page's Rust, compiled with the doctests; it needs the driver. Packaged sources do not have the page.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/transactions.md")]
    mod transactions {}
}
