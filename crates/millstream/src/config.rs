//! Configuration: defaults, then a file, then the environment, then flags, checked as a whole before anything
//! connects.
//!
//! `docs/configuration.md` is the page for people; [`Config::groups`] is the table behind it.

mod backend;
mod build;
mod file;
mod key;
mod keys;
mod merged;
mod path;
mod postgres;
mod problem;
mod sources;

use std::{collections::BTreeMap, time::Duration};

use millstream_core::{JobEvents, QueueDefaults, QueueName, Result, Retention, StoreOptions};

pub use backend::{Backend, FILE_DEFAULT};
pub use key::{Key, Kind};
pub use keys::Group;
pub use postgres::{PgBossBackend, PostgresBackend};
pub use sources::{FILE_NAME, Sources};

/// A configuration that was checked as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where jobs are.
    pub queue: Backend,
    /// Where events are.
    pub events: Backend,
    /// Where run state is.
    pub state: Backend,
    /// Options of jobs that do not name them: of all queues, and of each.
    pub defaults: QueueDefaults,
    /// Which job events go into the event store.
    pub job_events: JobEvents,
    /// How long a job stays with a worker that no longer gives a sign of life.
    pub lease: Duration,
    /// How long the log keeps events, while the event store does not say it itself.
    pub retention: Retention,
    /// How this process works all queues.
    pub worker: WorkerConfig,
    /// How it works single ones.
    pub queues: BTreeMap<QueueName, QueueConfig>,
}

/// How a process works all queues.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerConfig {
    /// How many jobs of one queue run at once.
    pub concurrency: u32,
    /// Whether workers start with the manager.
    pub autorun: bool,
    /// How often a worker looks for itself, should a signal be lost.
    pub poll: Duration,
    /// How long running jobs may take to end when a worker stops.
    pub grace: Duration,
}

/// Ten jobs at once, started with the manager, a look a second, ten seconds of grace.
impl Default for WorkerConfig {
    fn default() -> Self {
        Self { concurrency: 10, autorun: true, poll: Duration::from_secs(1), grace: Duration::from_secs(10) }
    }
}

/// How a process works one queue; what is `None` is as for all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueConfig {
    /// How many of its jobs run at once.
    pub concurrency: Option<u32>,
    /// Whether its worker starts with the others.
    pub autorun: Option<bool>,
    /// How many of its jobs of one group run at once in this process.
    pub local_group_concurrency: Option<u32>,
}

impl Config {
    /// Reads and checks everything the sources hold.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](millstream_core::Error::Config) with every problem found, one a line:
    /// `path: got …, expected … (origin)`.
    pub fn load(sources: &Sources) -> Result<Self> {
        let mut problems = Vec::new();
        let layers = sources.layers(&mut problems);
        let merged = merged::Merged::of(layers, &mut problems);
        let config = build::build(&merged, sources, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problem::error(&problems)) }
    }

    /// [`load`](Self::load) from the process's working directory and environment.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_process() -> Result<Self> {
        Self::load(&Sources::from_process()?)
    }

    /// Every key there is, with what it takes and its default.
    ///
    /// ```
    /// assert!(millstream::Config::keys().any(|key| key.path == "queue.adapter"));
    /// ```
    pub fn keys() -> impl Iterator<Item = &'static Key> {
        keys::all()
    }

    /// The keys in groups, as the documentation shows them.
    pub fn groups() -> &'static [Group] {
        keys::GROUPS
    }

    /// The adapters of this build.
    pub fn adapters() -> &'static [&'static str] {
        backend::ADAPTERS
    }

    /// What its stores are opened with, but for [`retention`](Self::retention), which is the event store's.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            lease: self.lease,
            defaults: self.defaults.clone(),
            job_events: self.job_events,
            ..StoreOptions::default()
        }
    }
}
