//! Settles finished jobs by group commit: whoever finishes while a batch is in flight travels in the next one.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    held::Held,
    siblings::{Families, Finished},
};
use crate::{
    claim::Progress,
    clock::{Clock, SystemClock},
    effects::Effects,
    error::Error,
    limits::SETTLE_BATCH_MAX,
    outcome::{Outcome, Settlement, Verdict},
    store::JobStore,
};

/// Finished jobs that may wait for a place in the next batch: past it, handlers' slots stay taken until the store keeps
/// up. One batch more, because all of them run again if the process is killed.
pub(crate) const BACKLOG: usize = SETTLE_BATCH_MAX;
/// Batches under way at once: while one waits for its commit to be durable, the store works on the other.
const WRITERS: usize = 2;
/// Finished jobs that are worth a second batch; fewer wait for the first, and travel together.
const SECOND_MIN: usize = 100;
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
    pub(crate) finished: mpsc::Receiver<Finished>,
    /// Fired when the engine has ended: what is in the channel is the last.
    pub(crate) last: CancellationToken,
}

/// What is on its way through the settler.
#[derive(Default)]
struct Flow {
    batch: Vec<Settlement>,
    /// What is settled in batches of its own.
    families: Families,
    /// Whether the last batch was of one claim: the others have their turn then.
    whole_last: bool,
    /// Batches under way.
    writing: JoinSet<Written>,
    /// Settles in a row that the store could not do.
    failures: u32,
    /// After a failure: nothing is written before.
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Whether the channel is closed and empty.
    drained: bool,
    /// Real time: how long outcomes wait for each other is no business of a clock of tests.
    clock: SystemClock,
}

/// What became of a batch.
#[derive(Default)]
struct Written {
    /// What has to be settled again: in another way, or because the store was in trouble.
    again: Vec<Settlement>,
    /// Whether the store could not do some of it.
    failed: bool,
    /// Whether it could do some of it.
    settled: bool,
}

impl Settler {
    /// Ends after `last`, when everything was answered.
    pub(crate) async fn run(self) {
        let Self { jobs, held, progress, mut finished, last } = self;
        let writer = Arc::new(Writer { jobs, held, progress });
        let mut flow = Flow::default();
        let mut received = Vec::new();
        while !flow.is_done() {
            if flow.has_room() {
                // Progress first: a job's last report must not come after its end.
                writer.note_progress().await;
                flow.write(&writer);
                continue;
            }
            let more = SETTLE_BATCH_MAX.saturating_sub(flow.batch.len()).min(flow.families.room());
            let patience = until(flow.families.until(), &flow.clock);
            tokio::select! {
                biased;
                Some(written) = flow.writing.join_next() => flow.absorb(written),
                () = paused(&mut flow.pause) => flow.pause = None,
                count = finished.recv_many(&mut received, more), if more > 0 && !flow.drained => {
                    flow.drained = count == 0;
                    flow.sort(received.drain(..));
                }
                () = patience => flow.sort(std::iter::empty()),
                () = writer.progress.posted.notified() => writer.note_progress().await,
                // Not by waiting for the senders to go: one may sit in a handler that blocks its thread.
                () = last.cancelled(), if !finished.is_closed() => finished.close(),
            }
        }
    }
}

/// Ends at a time of the clock, if there is one.
fn until(time: Option<Duration>, clock: &SystemClock) -> impl Future<Output = ()> + use<> {
    let left = time.map(|time| time.saturating_sub(clock.monotonic()));
    async move {
        match left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    }
}

async fn paused(pause: &mut Option<Pin<Box<tokio::time::Sleep>>>) {
    match pause {
        Some(pause) => pause.await,
        None => std::future::pending().await,
    }
}

impl Flow {
    fn is_done(&self) -> bool {
        self.drained && self.batch.is_empty() && self.families.is_empty() && self.writing.is_empty()
    }

    /// Lays what came where it belongs; nobody waits for more once nothing comes.
    fn sort(&mut self, received: impl Iterator<Item = Finished>) {
        let now = self.clock.monotonic();
        for Finished { settlement, siblings } in received {
            match siblings {
                Some(share) => self.batch.extend(self.families.push(settlement, share, now)),
                None => self.batch.push(settlement),
            }
        }
        self.families.gather(now, self.drained);
    }

    /// Whether a batch may be written now: the first at once, a second beside it where it is worth it, and none beside
    /// one that is in trouble.
    fn has_room(&self) -> bool {
        let whole = self.families.has_whole();
        let worth = whole || self.batch.len() >= SECOND_MIN;
        let second = self.failures == 0 && self.writing.len() < WRITERS && worth;
        (whole || !self.batch.is_empty()) && self.pause.is_none() && (self.writing.is_empty() || second)
    }

    fn write(&mut self, writer: &Arc<Writer>) {
        let (writer, batch) = (writer.clone(), self.next());
        let apart = self.failures >= APART_AFTER;
        self.writing
            .spawn(async move { if apart { writer.settle_apart(batch).await } else { writer.settle(batch).await } });
    }

    /// The next batch: those of one claim, and the others, in turns where there are both.
    fn next(&mut self) -> Vec<Settlement> {
        let others = self.whole_last && !self.batch.is_empty();
        let whole = if others { None } else { self.families.take_whole() };
        self.whole_last = whole.is_some();
        whole.unwrap_or_else(|| {
            let rest = self.batch.split_off(self.batch.len().min(SETTLE_BATCH_MAX));
            std::mem::replace(&mut self.batch, rest)
        })
    }

    /// A fault of ours ends the settler, as it would without a task between.
    fn absorb(&mut self, written: Result<Written, JoinError>) {
        let written = written.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime goes down, and this task with it.
            Err(_) => Written::default(),
        });
        self.failures = match (written.failed, written.settled) {
            (false, _) => 0,
            (true, true) => APART_AFTER,
            (true, false) => self.failures.saturating_add(1),
        };
        if written.failed {
            let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(7)).min(RETRY_LAST);
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
        self.batch.extend(written.again);
    }
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

    async fn settle(&self, batch: Vec<Settlement>) -> Written {
        match self.jobs.settle(&batch).await {
            Ok(verdicts) => {
                let again = batch.into_iter().zip(verdicts).filter_map(|(one, verdict)| self.judge(one, verdict));
                Written { again: again.collect(), failed: false, settled: true }
            }
            Err(error) if error.is_transient() => {
                // The claims are still beaten for; if they are lost meanwhile, the fence says so.
                tracing::warn!(%error, jobs = batch.len(), "failed to settle; trying again");
                Written { again: batch, failed: true, settled: false }
            }
            Err(error) => Written { again: self.isolate(batch, error).await, ..Written::default() },
        }
    }

    /// The store has been in trouble for a while, or one settlement is its trouble: each on its own, so that one that
    /// can never be written does not hold up the others.
    async fn settle_apart(&self, batch: Vec<Settlement>) -> Written {
        let mut written = Written::default();
        let (mut untried, mut failed) = (Vec::new(), Vec::new());
        for one in batch {
            if !written.settled && failed.len() >= PROBES {
                untried.push(one);
                continue;
            }
            match self.jobs.settle(std::slice::from_ref(&one)).await {
                Ok(verdicts) => {
                    written.settled = true;
                    written.again.extend(verdicts.into_iter().filter_map(|verdict| self.judge(one.clone(), verdict)));
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(job = %one.claim, %error, "failed to settle; trying again");
                    failed.push(one);
                }
                Err(error) => written.again.extend(self.isolate(vec![one], error).await),
            }
        }
        written.failed = !failed.is_empty();
        // Those that failed go last: the next look tries others first.
        written.again.extend(untried);
        written.again.extend(failed);
        written
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
        // Not held: its handler said that it had settled the job, and what is settled here is the proof.
        let held = self.held.holds(&settlement.claim);
        match verdict {
            Verdict::Settled(state) if held => tracing::debug!(job = %settlement.claim, %state, "settled"),
            Verdict::Settled(state) => {
                tracing::error!(job = %settlement.claim, %state, "its handler said that it had settled it, and had not");
            }
            Verdict::LostClaim if held => {
                tracing::warn!(job = %settlement.claim, "settled too late: the claim was lost");
            }
            Verdict::LostClaim => tracing::debug!(job = %settlement.claim, "settled by its handler"),
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

#[cfg(test)]
mod tests {
    use super::{super::siblings::Siblings, *};
    use crate::{ClaimRef, JobId, QueueName};

    fn finished(job: &str, siblings: Option<Siblings>) -> Finished {
        let claim = ClaimRef { queue: QueueName::new("q").unwrap(), job: JobId::new(job).unwrap(), token: job.into() };
        let settlement = Settlement { claim, outcome: Outcome::Done(json!(null)), effects: Effects::default() };
        Finished { settlement, siblings }
    }

    #[test]
    fn batches_of_whole_claims_starve_no_other_outcome() {
        let mut flow = Flow::default();
        let whole = |job: &str| finished(job, Some(Siblings::default()));
        flow.sort([whole("a"), whole("b"), finished("c", None)].into_iter());
        assert!(flow.has_room());
        let mut order = Vec::new();
        for more in [Some(whole("d")), None, None, None] {
            order.push(flow.next().iter().map(|one| one.claim.job.to_string()).collect::<String>());
            flow.sort(more.into_iter());
        }
        assert_eq!(order, ["a", "c", "b", "d"]);
        assert!(!flow.has_room());
    }
}
