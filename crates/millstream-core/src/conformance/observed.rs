//! A job store that can be seen working, that may panic, and that may have one settlement it can never write: for cases
//! that wait for a beat rather than for a time, and for trouble that no real store makes on demand.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Capabilities, ClaimRef, Claimed, Error, JobId, JobStore, Progress, QueueName, Realm, Result, Settlement, Signal,
    Store, Timestamp, Verdict, Wake, Want,
};

/// A job store that counts its beats.
pub(super) struct Observed {
    jobs: Arc<dyn JobStore>,
    beats: watch::Sender<u64>,
    /// The job whose settlements fail, and with them every batch they are in.
    poison: Option<JobId>,
    /// The calls that panic, each once.
    panics: Mutex<HashSet<&'static str>>,
}

impl Observed {
    pub(super) fn over(jobs: Arc<dyn JobStore>) -> Self {
        Self { jobs, beats: watch::Sender::new(0), poison: None, panics: Mutex::default() }
    }

    /// Fails every batch with a settlement of this job, as a damaged page under its row would.
    pub(super) fn poisoned_by(self, job: JobId) -> Self {
        Self { poison: Some(job), ..self }
    }

    /// Panics once in each of these calls, as a column of another type would.
    pub(super) fn panicking_once_in(self, calls: impl IntoIterator<Item = &'static str>) -> Self {
        Self { panics: Mutex::new(calls.into_iter().collect()), ..self }
    }

    fn may_panic(&self, call: &'static str) {
        if self.panics.lock().unwrap_or_else(PoisonError::into_inner).remove(call) {
            // As a panic, without a line on the suite's standard error.
            std::panic::resume_unwind(Box::new(format!("{call} met a column of another type")));
        }
    }

    /// The calls that are still to panic.
    pub(super) fn calm(&self) -> Vec<&'static str> {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// How many beats were answered, or panicked.
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
        self.may_panic("sweep");
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

    fn hears(&self) -> bool {
        self.jobs.hears()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        self.may_panic("claim");
        self.jobs.claim(wants).await
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        self.may_panic("settle");
        if batch.iter().any(|settlement| Some(&settlement.claim.job) == self.poison.as_ref()) {
            return Err(Error::unavailable(self.kind(), "settle claims", "a page is damaged"));
        }
        self.jobs.settle(batch).await
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        let panics = self.calm().contains(&"beat");
        let answer = if panics { Ok(Vec::new()) } else { self.jobs.beat(held).await };
        self.beats.send_modify(|beats| *beats += 1);
        self.may_panic("beat");
        answer
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        self.may_panic("progress");
        self.jobs.progress(notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        self.may_panic("release");
        self.jobs.release(held).await
    }

    async fn rescue(&self) -> Result<u64> {
        self.may_panic("rescue");
        self.jobs.rescue().await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        self.may_panic("promote_due");
        self.jobs.promote_due().await
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        self.may_panic("fire_schedules");
        self.jobs.fire_schedules().await
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        self.may_panic("wait");
        self.jobs.wait(queues).await
    }
}
