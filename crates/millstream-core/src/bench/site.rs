//! Where the scenarios run.

use std::process::Command;

use async_trait::async_trait;

use super::Failure;
use crate::Stores;

/// Opens stores, each time other ones.
#[async_trait]
pub trait Bed: Send + Sync {
    /// Empty stores that nobody else uses.
    async fn open(&self) -> Result<Box<dyn Site + '_>, Failure>;
}

/// The stores of one scenario.
#[async_trait]
pub trait Site: Send + Sync {
    /// The stores.
    fn stores(&self) -> &Stores;
    /// What looks at their server.
    fn gauge(&self) -> Option<&dyn Gauge> {
        None
    }
    /// How a process is started that works an empty queue of these stores until it is killed, as
    /// [`idle_worker`](super::idle_worker) does.
    fn idle_worker(&self) -> Option<Command> {
        None
    }
    /// Closes them, and leaves nothing behind.
    async fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// A look at a database server from outside any store.
#[async_trait]
pub trait Gauge: Send + Sync {
    /// Has it do now what it would do later: statistics, hint bits, dirty pages of the past.
    async fn settle(&self) -> Result<(), Failure>;
    /// What it has used so far.
    async fn used(&self) -> Result<Used, Failure>;
    /// Transactions that ended, as far as the sessions have reported them.
    async fn transactions(&self) -> Result<i64, Failure>;
}

/// What a server had used at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Bytes of WAL.
    pub wal_bytes: f64,
    /// CPU seconds, where the server runs on this machine.
    pub cpu_s: Option<f64>,
}
