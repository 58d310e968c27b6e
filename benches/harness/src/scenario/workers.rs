//! Handlers that do nothing.

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::{Handler, JobContext, JobError};
use serde_json::{Value, json};

/// Tells of each job, and completes it.
pub(crate) fn noop(seen: impl Fn(&Value) + Send + Sync + 'static) -> Arc<dyn Handler> {
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
