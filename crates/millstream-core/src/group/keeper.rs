//! Keeps the log of consumers: a process that only consumes has no workers whose keeper would.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::JoinSet;

use crate::{clock::Clock, store::EventStore, worker::keeper::SWEEP_EVERY};

/// One for all consumers of a [`Groups`](super::Groups), for as long as there is one.
#[derive(Clone, Default)]
pub(super) struct Keeper {
    running: Arc<Mutex<Weak<Keeping>>>,
}

/// Held by every consumer; the last one ends it.
pub(super) struct Keeping {
    _task: JoinSet<()>,
}

impl Keeper {
    /// The one that runs, or a new one.
    pub(super) fn keep(&self, log: &Arc<dyn EventStore>, clock: &Arc<dyn Clock>) -> Arc<Keeping> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeping) = running.upgrade() {
            return keeping;
        }
        let mut task = JoinSet::new();
        task.spawn(sweep(log.clone(), clock.clone()));
        let keeping = Arc::new(Keeping { _task: task });
        *running = Arc::downgrade(&keeping);
        keeping
    }
}

/// Sweeps the store as workers do, whoever else does the same: each sweep is right by itself.
async fn sweep(log: Arc<dyn EventStore>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep(SWEEP_EVERY).await;
        match log.sweep().await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "sweep"),
            Err(error) => tracing::warn!(%error, "failed to sweep"),
        }
    }
}
