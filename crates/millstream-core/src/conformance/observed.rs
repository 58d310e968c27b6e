//! A job store that can be seen working: for cases that wait for a beat rather than for a time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Capabilities, ClaimRef, Claimed, JobStore, Progress, QueueName, Realm, Result, Settlement, Signal, Store,
    Timestamp, Verdict, Wake, Want,
};

/// A job store that counts its beats.
pub(super) struct Observed {
    jobs: Arc<dyn JobStore>,
    beats: watch::Sender<u64>,
}

impl Observed {
    pub(super) fn over(jobs: Arc<dyn JobStore>) -> Self {
        Self { jobs, beats: watch::Sender::new(0) }
    }

    /// How many beats were answered.
    pub(super) fn beats(&self) -> watch::Receiver<u64> {
        self.beats.subscribe()
    }
}

#[async_trait]
impl Store for Observed {
    fn kind(&self) -> &'static str {
        self.jobs.kind()
    }

    fn realm(&self) -> &Realm {
        self.jobs.realm()
    }

    fn capabilities(&self) -> Capabilities {
        self.jobs.capabilities()
    }

    async fn sweep(&self) -> Result<u64> {
        self.jobs.sweep().await
    }

    async fn close(&self) -> Result<()> {
        self.jobs.close().await
    }
}

#[async_trait]
impl JobStore for Observed {
    fn lease(&self) -> Duration {
        self.jobs.lease()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        self.jobs.claim(wants).await
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        self.jobs.settle(batch).await
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        let answer = self.jobs.beat(held).await;
        self.beats.send_modify(|beats| *beats += 1);
        answer
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        self.jobs.progress(notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        self.jobs.release(held).await
    }

    async fn rescue(&self) -> Result<u64> {
        self.jobs.rescue().await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        self.jobs.promote_due().await
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        self.jobs.fire_schedules().await
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        self.jobs.wait(queues).await
    }
}
