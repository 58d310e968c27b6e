//! A job store whose panics are errors: a call that panics is a call that failed, and the worker goes on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;

use super::executor::text_of;
use crate::{
    Timestamp,
    claim::{ClaimRef, Claimed, Progress, Signal, Wake, Want},
    error::{Error, Result},
    name::QueueName,
    outcome::{Settlement, Verdict},
    store::{Capabilities, JobStore, Realm, Store},
};

/// After a panic, how long nothing is heard of wake-ups: whoever waits looks for itself meanwhile.
const DEAF: Duration = Duration::from_secs(1);

/// Without it a panic would end the task that made the call: its worker would look alive, and do nothing for ever.
pub(crate) struct Guarded(pub(crate) Arc<dyn JobStore>);

impl Guarded {
    /// A panic as an error that may pass. What the call wrote is unknown, as after a lost connection: claims that
    /// nobody got come back by their lease, and what is done twice meets the fence.
    async fn call<T>(&self, doing: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        caught(call).await.unwrap_or_else(|panic| {
            let store = self.0.kind();
            tracing::error!(store, "the store panicked, failing to {doing}: {panic}");
            Err(Error::unavailable(store, doing, format!("it panicked: {panic}")))
        })
    }
}

/// What the future answers, or what it panicked with.
async fn caught<T>(future: impl Future<Output = T> + Send) -> std::result::Result<T, String> {
    let mut future = pin!(future);
    // Not polled again after a panic.
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(text_of(&*panic).to_owned())),
    })
    .await
}

#[async_trait]
impl Store for Guarded {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn realm(&self) -> &Realm {
        self.0.realm()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn sweep(&self) -> Result<u64> {
        self.call("sweep", self.0.sweep()).await
    }

    async fn close(&self) -> Result<()> {
        self.call("close", self.0.close()).await
    }
}

#[async_trait]
impl JobStore for Guarded {
    fn lease(&self) -> Duration {
        self.0.lease()
    }

    fn hears(&self) -> bool {
        self.0.hears()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        self.call("claim jobs", self.0.claim(wants)).await
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        self.call("settle claims", self.0.settle(batch)).await
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        self.call("beat", self.0.beat(held)).await
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        self.call("note progress", self.0.progress(notes)).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        self.call("give claims back", self.0.release(held)).await
    }

    async fn rescue(&self) -> Result<u64> {
        self.call("rescue jobs", self.0.rescue()).await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        self.call("promote due jobs", self.0.promote_due()).await
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        self.call("fire schedules", self.0.fire_schedules()).await
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        match caught(self.0.wait(queues)).await {
            Ok(wake) => wake,
            Err(panic) => {
                tracing::error!(store = self.0.kind(), "the store panicked, failing to wait for work: {panic}");
                tokio::time::sleep(DEAF).await;
                Wake::Work
            }
        }
    }
}
