//! Jobs, events and flows on the Postgres you already run: what an application adds.
//!
//! This crate re-exports `millstream-core` (the words, the seams, the worker runtime) and adds configuration
//! ([`Config`], [`Sources`]) and the factory that opens the stores it names ([`Config::open`]). Each store is a
//! feature: `sqlite`, `postgres`.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use millstream::{Config, JobContext, JobError, Queue, Sources, WorkerManager};
//!
//! let config = Config::load(&Sources::default().set("queue.adapter", "memory"))?;
//! let stores = config.open().await?;
//! let mail = Queue::new(stores.queue.clone(), "mail")?;
//! let workers = WorkerManager::new(stores.clone(), config.worker_options());
//! workers.register(mail.name(), &"welcome".try_into()?, async |to: String, ctx: JobContext| {
//!     ctx.log().info("sending");
//!     Ok::<_, JobError>(format!("welcome, {to}"))
//! })?;
//! workers.start().await?;
//! let job = mail.enqueue("welcome", "ada").await?;
//! let done = mail.finished(job.id()).await?.expect("nobody removed it");
//! assert_eq!(done.output, Some("welcome, ada".into()));
//! workers.close_all().await?;
//! stores.close().await
//! # }).unwrap();
//! ```

#[cfg(feature = "bench")]
mod bed;
mod config;
mod factory;
mod schema;

#[cfg(feature = "bench")]
pub use bed::ConfigBed;
pub use config::{
    Backend, Config, FILE_DEFAULT, FILE_NAME, Group, Key, Kind, PgBossBackend, PostgresBackend, QueueConfig, Sources,
    WorkerConfig,
};
pub use millstream_core::*;
#[cfg(feature = "postgres")]
pub use millstream_postgres as postgres;
#[cfg(feature = "sqlite")]
pub use millstream_sqlite as sqlite;
pub use schema::StoreSchema;

/// The pages' Rust, compiled and run with the doctests. Packaged sources do not have the pages.
#[cfg(all(doctest, feature = "sqlite"))]
mod pages {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../../../docs/events.md")]
    mod events {}
    #[doc = include_str!("../../../docs/handlers.md")]
    mod handlers {}
    #[cfg(feature = "postgres")]
    #[doc = include_str!("../../../docs/postgres.md")]
    mod postgres {}
    #[cfg(feature = "postgres")]
    #[doc = include_str!("../../../docs/pgboss.md")]
    mod pgboss {}
}
