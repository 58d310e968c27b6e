//! Handlers that do nothing.

use std::sync::Arc;

use crate::{Handler, JobContext, JobError, QueueName, Stores, WorkerManager, WorkerOptions, bench::Failure};
use async_trait::async_trait;
use serde_json::{Value, json};

/// Tells of each job, and completes it.
pub(in crate::bench) fn noop(seen: impl Fn(&Value) + Send + Sync + 'static) -> Arc<dyn Handler> {
    Arc::new(Noop(seen))
}

struct Noop<F>(F);

#[async_trait]
impl<F: Fn(&Value) + Send + Sync + 'static> Handler for Noop<F> {
    async fn run(&self, input: Value, _ctx: JobContext) -> Result<Value, JobError> {
        (self.0)(&input);
        Ok(json!({ "ok": true }))
    }
}

/// Works one empty queue until the process is ended.
///
/// # Errors
///
/// What the store answers.
pub async fn idle_worker(stores: Stores) -> Result<(), Failure> {
    let manager = WorkerManager::new(stores, WorkerOptions::default());
    manager.register_default(&QueueName::new("idle")?, noop(|_| {}))?;
    manager.start().await?;
    std::future::pending().await
}
