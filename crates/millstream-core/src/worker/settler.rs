//! Settles finished jobs by group commit: whoever finishes while a batch is in flight travels in the next one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::sync::{Notify, mpsc};
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
/// The first wait after a store that could not be reached, doubled up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// After so many failures of whole batches, settlements are tried one by one.
const APART_AFTER: u32 = 3;
/// One by one, so many failures before the first success mean that it is the store, and the rest waits.
const PROBES: usize = 3;

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
    /// Settles in a row that the store could not do.
    pub(crate) failures: u32,
}

impl Settler {
    /// Ends after `last`, when everything was answered.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            if batch.is_empty() {
                tokio::select! {
                    biased;
                    received = self.finished.recv_many(&mut batch, SETTLE_BATCH_MAX) => if received == 0 { break },
                    () = self.progress.posted.notified() => {}
                    // Not by waiting for the senders to go: one may sit in a handler that blocks its thread.
                    () = self.last.cancelled(), if !self.finished.is_closed() => self.finished.close(),
                }
            }
            // Progress first: a job's last report must not come after its end.
            self.note_progress().await;
            if batch.is_empty() {
                continue;
            }
            batch = self.settle(batch).await;
            if self.failures > 0 {
                tokio::time::sleep(RETRY_FIRST.saturating_mul(1 << self.failures.min(7)).min(RETRY_LAST)).await;
                self.join_waiting(&mut batch);
            }
        }
    }

    /// What finished while the store was in trouble travels with what is tried again.
    fn join_waiting(&mut self, batch: &mut Vec<Settlement>) {
        while batch.len() < SETTLE_BATCH_MAX
            && let Ok(one) = self.finished.try_recv()
        {
            batch.push(one);
        }
    }

    async fn note_progress(&self) {
        let notes = self.progress.take();
        if notes.is_empty() {
            return;
        }
        match self.jobs.progress(&notes).await {
            Ok(()) => {}
            Err(error) if error.is_transient() || notes.len() == 1 => {
                tracing::warn!(%error, jobs = notes.len(), "failed to note progress");
            }
            // Refused as a whole: one by one, so that only the cause is hurt.
            Err(_) => {
                for note in &notes {
                    if let Err(error) = self.jobs.progress(std::slice::from_ref(note)).await {
                        tracing::warn!(job = %note.claim, %error, "failed to note progress");
                    }
                }
            }
        }
    }

    /// Settles a batch; answers what has to be settled again: in another way, or because the store was in trouble.
    async fn settle(&mut self, batch: Vec<Settlement>) -> Vec<Settlement> {
        if self.failures >= APART_AFTER {
            return self.settle_apart(batch).await;
        }
        match self.jobs.settle(&batch).await {
            Ok(verdicts) => {
                self.failures = 0;
                batch.into_iter().zip(verdicts).filter_map(|(one, verdict)| self.judge(one, verdict)).collect()
            }
            Err(error) if error.is_transient() => {
                // The claims are still beaten for; if they are lost meanwhile, the fence says so.
                tracing::warn!(%error, jobs = batch.len(), "failed to settle; trying again");
                self.failures += 1;
                batch
            }
            Err(error) => self.isolate(batch, error).await,
        }
    }

    /// The store has been in trouble for a while, or one settlement is its trouble: each on its own, so that one that
    /// can never be written does not hold up the others.
    async fn settle_apart(&mut self, batch: Vec<Settlement>) -> Vec<Settlement> {
        let (mut again, mut untried) = (Vec::new(), Vec::new());
        let (mut failed, mut settled) = (Vec::new(), false);
        for one in batch {
            if !settled && failed.len() >= PROBES {
                untried.push(one);
                continue;
            }
            match self.jobs.settle(std::slice::from_ref(&one)).await {
                Ok(verdicts) => {
                    settled = true;
                    again.extend(verdicts.into_iter().filter_map(|verdict| self.judge(one.clone(), verdict)));
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(job = %one.claim, %error, "failed to settle; trying again");
                    failed.push(one);
                }
                Err(error) => again.extend(self.isolate(vec![one], error).await),
            }
        }
        self.failures = match (failed.is_empty(), settled) {
            (true, _) => 0,
            (false, true) => APART_AFTER,
            (false, false) => self.failures.saturating_add(1),
        };
        // Those that failed go last: the next look tries others first.
        again.extend(untried);
        again.extend(failed);
        again
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
