//! A worker process with nothing to do.

use std::time::Duration;

use millstream_core::{QueueName, WorkerManager, WorkerOptions};

use crate::{Failure, bed::Place, scenario::workers};

/// Works one empty queue until the process is ended.
///
/// # Errors
///
/// What the store answers.
pub async fn idle_worker(place: &Place) -> Result<(), Failure> {
    let stores = place.open().await?;
    let manager = WorkerManager::new(stores, WorkerOptions::default());
    let handler = workers::noop(|_| {});
    manager.register_default(&QueueName::new("idle")?, handler)?;
    manager.start().await?;
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}
