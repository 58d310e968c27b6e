//! Settles finished jobs by group commit: whoever finishes while a batch is in flight travels in the next one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::held::Held;
use crate::{
    claim::Progress,
    effects::Effects,
    error::Error,
    limits::SETTLE_BATCH_MAX,
    outcome::{Outcome, Settlement, Verdict},
    store::JobStore,
};

/// Finished jobs that may wait for their commit: past it, handlers' slots stay taken until the store keeps up.
pub(crate) const BACKLOG: usize = 4 * SETTLE_BATCH_MAX;
/// Batches under way at once: while one waits for its commit to be durable, the store works on the other.
const WRITERS: usize = 2;
/// Finished jobs that are worth a second batch; fewer wait for the first, and travel together.
const SECOND_MIN: usize = 100;
/// The first wait after a store that could not be reached, doubled up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// The latest progress of each running job that is not stored yet. Written by handlers, taken by the settler.
#[derive(Default)]
pub(crate) struct ProgressBoard {
    notes: Mutex<HashMap<Arc<str>, Progress>>,
    posted: Notify,
}

impl ProgressBoard {
    pub(crate) fn post(&self, note: Progress) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(note.claim.token.clone(), note);
        self.posted.notify_one();
    }

    fn take(&self) -> Vec<Progress> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.drain().map(|(_, note)| note).collect()
    }
}

pub(crate) struct Settler {
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) held: Arc<Held>,
    pub(crate) progress: Arc<ProgressBoard>,
    pub(crate) finished: mpsc::Receiver<Settlement>,
    /// Fired when the engine has ended: what is in the channel is the last.
    pub(crate) last: CancellationToken,
}

impl Settler {
    /// Ends after `last`, when everything was answered.
    pub(crate) async fn run(self) {
        let Self { jobs, held, progress, mut finished, last } = self;
        let writer = Arc::new(Writer { jobs, held, progress });
        let mut writing: JoinSet<Vec<Settlement>> = JoinSet::new();
        let mut batch = Vec::new();
        loop {
            let room = writing.is_empty() || (writing.len() < WRITERS && batch.len() >= SECOND_MIN);
            if room && !batch.is_empty() {
                // Progress first: a job's last report must not come after its end.
                writer.note_progress().await;
                let rest = batch.split_off(batch.len().min(SETTLE_BATCH_MAX));
                let (writer, batch) = (writer.clone(), std::mem::replace(&mut batch, rest));
                writing.spawn(async move { writer.settle(batch).await });
                continue;
            }
            let more = SETTLE_BATCH_MAX.saturating_sub(batch.len());
            tokio::select! {
                biased;
                Some(written) = writing.join_next() => batch.extend(again(written)),
                received = finished.recv_many(&mut batch, more), if more > 0 => {
                    if received == 0 && batch.is_empty() && writing.is_empty() {
                        break;
                    }
                    // Closed and empty: only what is being written can bring more.
                    if received == 0 && let Some(written) = writing.join_next().await {
                        batch.extend(again(written));
                    }
                }
                () = writer.progress.posted.notified() => writer.note_progress().await,
                // Not by waiting for the senders to go: one may sit in a handler that blocks its thread.
                () = last.cancelled(), if !finished.is_closed() => finished.close(),
            }
        }
    }
}

/// What a batch left to settle in another way. A fault of ours ends the settler, as it would without a task between.
fn again(written: Result<Vec<Settlement>, JoinError>) -> Vec<Settlement> {
    written.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime goes down, and this task with it.
        Err(_) => Vec::new(),
    })
}

/// What writes a batch.
struct Writer {
    jobs: Arc<dyn JobStore>,
    held: Arc<Held>,
    progress: Arc<ProgressBoard>,
}

impl Writer {
    async fn note_progress(&self) {
        let notes = self.progress.take();
        if notes.is_empty() {
            return;
        }
        if let Err(error) = self.jobs.progress(&notes).await {
            tracing::warn!(%error, jobs = notes.len(), "failed to note progress");
        }
    }

    /// Settles a batch; answers what has to be settled again, in another way.
    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Settlement> {
        let mut wait = RETRY_FIRST;
        loop {
            match self.jobs.settle(&batch).await {
                Ok(verdicts) => {
                    return batch
                        .into_iter()
                        .zip(verdicts)
                        .filter_map(|(one, verdict)| self.judge(one, verdict))
                        .collect();
                }
                Err(error) if error.is_transient() => {
                    // The claims are still beaten for; if they are lost meanwhile, the fence says so.
                    tracing::warn!(%error, jobs = batch.len(), "failed to settle; trying again in {wait:?}");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_LAST);
                }
                Err(error) => return self.isolate(batch, error).await,
            }
        }
    }

    /// A batch that the store refuses as a whole: one by one, so that only the cause is hurt.
    async fn isolate(&self, batch: Vec<Settlement>, error: Error) -> Vec<Settlement> {
        if matches!(error, Error::Closed { .. }) {
            tracing::error!(jobs = batch.len(), "the store was closed before its workers: the jobs will run again");
            batch.iter().for_each(|one| self.held.drop_claim(&one.claim));
            return Vec::new();
        }
        let mut again = Vec::new();
        for one in batch {
            match self.jobs.settle(std::slice::from_ref(&one)).await {
                Ok(verdicts) => {
                    again.extend(verdicts.into_iter().filter_map(|verdict| self.judge(one.clone(), verdict)))
                }
                Err(error) if !matches!(one.outcome, Outcome::Fail(_)) || !one.effects.is_empty() => {
                    tracing::error!(job = %one.claim, %error, "the outcome cannot be stored");
                    let outcome = Outcome::Fail(json!({ "message": format!("the outcome cannot be stored: {error}") }));
                    again.push(Settlement { claim: one.claim, outcome, effects: Effects::default() });
                }
                Err(error) => {
                    tracing::error!(job = %one.claim, %error, "failed to settle; the job will run again");
                    self.held.drop_claim(&one.claim);
                }
            }
        }
        again
    }

    fn judge(&self, settlement: Settlement, verdict: Verdict) -> Option<Settlement> {
        match verdict {
            Verdict::Settled(state) => tracing::debug!(job = %settlement.claim, %state, "settled"),
            Verdict::LostClaim => tracing::warn!(job = %settlement.claim, "settled too late: the claim was lost"),
            Verdict::EffectRefused(error) => {
                tracing::warn!(job = %settlement.claim, %error, "an effect was refused");
                let error = json!({ "message": format!("an effect was refused: {error}") });
                let outcome = Outcome::Retry { error, after: None };
                return Some(Settlement { claim: settlement.claim, outcome, effects: Effects::default() });
            }
        }
        self.held.drop_claim(&settlement.claim);
        None
    }
}
