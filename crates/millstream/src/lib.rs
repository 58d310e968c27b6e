//! Jobs, events and flows on the Postgres you already run: what an application adds.

mod config;

pub use config::{Backend, Config, FILE_DEFAULT, FILE_NAME, Group, Key, Kind, QueueConfig, Sources, WorkerConfig};
pub use millstream_core::*;
