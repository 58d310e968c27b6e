//! Effects across realms: a job store whose events or state live where its commits do not reach.
//!
//! The first write of a terminal settle is a **settlement record**: an event in a stream of the job's own, appended in
//! one transaction with the settlement's events. Then come state, then the queue's settle with the rest. A later
//! claim that finds a record of the job's life replays what may be missing and does not run the handler again. So a
//! crash between any two writes neither loses nor doubles, and what one run published is not contradicted by another.
//!
//! The record's stream is appended to at the version that was read when the job was claimed. Of two holders that both
//! believe in their claim, the second is told of a conflict, and adopts the first one's record.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Timestamp,
    claim::{ClaimRef, Claimed, Progress, Signal, Wake, Want},
    effects::{Append, Effects, NewEvent},
    error::{Error, Result},
    event::{Direction, EventQuery},
    name::{QueueName, StreamName, fitting_stream},
    outcome::{Outcome, Settlement, Verdict},
    pattern::Pattern,
    store::{Capabilities, EventStore, JobStore, Realm, StateStore, Store},
};

/// The type of a settlement record.
const RECORD: &str = "settlement.recorded";

/// A job store with its effects' stores, where one commit does not reach them all.
///
/// It keeps nothing in memory: what it reads of a job when the job is claimed travels in the claim's token, so a claim
/// may be settled through another handle, as with every store.
pub struct SplitJobStore {
    jobs: Arc<dyn JobStore>,
    events: Arc<dyn EventStore>,
    state: Arc<dyn StateStore>,
    events_apart: bool,
    state_apart: bool,
}

/// What was read of a job when it was claimed.
struct Life<'a> {
    life: &'a str,
    /// The version of the record's stream.
    version: u64,
}

/// What is still to be written once the record is.
#[derive(Serialize, Deserialize)]
struct Record {
    life: Arc<str>,
    outcome: Outcome,
    effects: Effects,
}

/// A settlement on its way through the stores.
enum Step {
    /// Its record is written, or it needs none: settle this in the queue.
    Queue(Settlement),
    Answered(Verdict),
}

impl SplitJobStore {
    /// Joins a job store with the stores of its effects.
    pub fn new(jobs: Arc<dyn JobStore>, events: Arc<dyn EventStore>, state: Arc<dyn StateStore>) -> Self {
        let events_apart = events.realm() != jobs.realm();
        let state_apart = state.realm() != jobs.realm();
        Self { jobs, events, state, events_apart, state_apart }
    }

    fn is_apart(&self, effects: &Effects) -> bool {
        (self.events_apart && !effects.append.is_empty()) || (self.state_apart && !effects.state.is_empty())
    }

    /// The version of a job's record stream, and the record of this life, if there is one: the last, because a record
    /// behind it is of a life behind this one.
    async fn read(&self, claim: &ClaimRef, life: &str) -> Result<(u64, Option<Record>)> {
        let stream = Pattern::Exact(record_stream(claim)?);
        let query = EventQuery { limit: 1, direction: Direction::Backward, ..EventQuery::of(stream) };
        let Some(last) = self.events.query(&query).await?.pop() else { return Ok((0, None)) };
        let version = last.version.unwrap_or(0);
        if last.data["life"] != *life {
            return Ok((version, None));
        }
        let record = serde_json::from_value(last.data).map_err(|error| Error::Corrupt {
            table: "events",
            column: "data",
            row: last.id.to_string(),
            why: format!("not a settlement record: {error}"),
        })?;
        Ok((version, Some(record)))
    }

    /// Replays a job whose outcome was recorded by an earlier holder; otherwise hands it on, with what was read in
    /// its token.
    async fn replay(&self, job: &Claimed) -> Result<Option<Claimed>> {
        let (version, record) = self.read(&job.claim, &job.life).await?;
        let Some(record) = record else {
            let mut job = job.clone();
            job.claim.token = wrapped(&job.claim.token, &Life { life: &job.life, version });
            return Ok(Some(job));
        };
        tracing::info!(job = %job.claim, "its outcome was recorded before: replayed, not run again");
        let settlement = self.adopt(&job.claim, record).await?;
        self.jobs.settle(&[settlement]).await?;
        Ok(None)
    }

    /// What is left to do of a record: state now, the rest in the queue's settle.
    async fn adopt(&self, claim: &ClaimRef, record: Record) -> Result<Settlement> {
        let mut effects = record.effects;
        self.apply_state(&mut effects).await?;
        Ok(Settlement { claim: claim.clone(), outcome: record.outcome, effects })
    }

    async fn apply_state(&self, effects: &mut Effects) -> Result<()> {
        if self.state_apart && !effects.state.is_empty() {
            self.state.apply(&std::mem::take(&mut effects.state)).await?;
        }
        Ok(())
    }

    /// Everything that comes before the queue's settle.
    async fn prepare(&self, settlement: &Settlement) -> Result<Step> {
        let Some((token, life)) = unwrapped(&settlement.claim.token) else {
            // A claim of another store.
            return Ok(Step::Answered(Verdict::LostClaim));
        };
        let claim = ClaimRef { token, ..settlement.claim.clone() };
        let settlement = Settlement { claim, ..settlement.clone() };
        if let Err(error) = settlement.effects.check() {
            return Ok(Step::Answered(Verdict::EffectRefused(error)));
        }
        let apart = self.is_apart(&settlement.effects);
        // The queue's fence comes last, when effects are public: so the claim is looked at, and renewed, before.
        if apart && self.jobs.beat(std::slice::from_ref(&settlement.claim)).await?.iter().any(is_lost) {
            return Ok(Step::Answered(Verdict::LostClaim));
        }
        if apart && !settlement.outcome.is_terminal() {
            return self.publish_attempt(settlement).await;
        }
        if matches!(settlement.outcome, Outcome::Snooze(_)) {
            return Ok(Step::Queue(settlement));
        }
        if apart {
            return self.record(&settlement, &life).await;
        }
        // Another holder may have published an outcome meanwhile: that one counts.
        Ok(Step::Queue(match self.read(&settlement.claim, life.life).await? {
            (_, Some(record)) => self.adopt(&settlement.claim, record).await?,
            (_, None) => settlement,
        }))
    }

    /// Effects of an outcome after which the job runs again: no record, for that would be for ever, but keys of this
    /// claim, so that a repeat is harmless. A crash before the queue's settle leaves an attempt that did fail.
    async fn publish_attempt(&self, mut settlement: Settlement) -> Result<Step> {
        if self.events_apart {
            let mut batch = std::mem::take(&mut settlement.effects.append);
            for (append, ordinal) in batch.iter_mut().zip(0..) {
                let key = || format!("attempt:{}:{ordinal}", settlement.claim.token).into();
                append.key.get_or_insert_with(key);
            }
            match self.events.append(&batch).await {
                Ok(_) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => return Ok(Step::Answered(Verdict::EffectRefused(error))),
            }
        }
        self.apply_state(&mut settlement.effects).await?;
        Ok(Step::Queue(settlement))
    }

    async fn record(&self, settlement: &Settlement, life: &Life<'_>) -> Result<Step> {
        let mut effects = settlement.effects.clone();
        let published = if self.events_apart { std::mem::take(&mut effects.append) } else { Vec::new() };
        let record = Record { life: life.life.into(), outcome: settlement.outcome.clone(), effects };
        let data: Value = serde_json::to_value(&record)
            .map_err(|error| Error::invalid("settlement", error.to_string(), "a settlement that serializes to JSON"))?;
        let stream = record_stream(&settlement.claim)?;
        let mut batch = vec![Append::one(stream.clone(), NewEvent::new(RECORD, data)).expecting(life.version)];
        batch.extend(published);
        match self.events.append(&batch).await {
            Ok(_) => self.adopt(&settlement.claim, record).await.map(Step::Queue),
            Err(Error::VersionConflict { stream: conflict, .. }) if *conflict == *stream.as_str() => {
                match self.read(&settlement.claim, life.life).await? {
                    (_, Some(record)) => self.adopt(&settlement.claim, record).await.map(Step::Queue),
                    // The record of another life: this claim is of a life that is over.
                    (_, None) => Ok(Step::Answered(Verdict::LostClaim)),
                }
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => Ok(Step::Answered(Verdict::EffectRefused(error))),
        }
    }
}

/// The queue's token, the version and the life, apart by a character that is in none of the numbers.
fn wrapped(token: &str, life: &Life<'_>) -> Arc<str> {
    format!("{}:{}:{}{token}", life.version, life.life.len(), life.life).into()
}

/// The queue's token, and what was read when the job was claimed.
fn unwrapped(token: &str) -> Option<(Arc<str>, Life<'_>)> {
    let (version, rest) = token.split_once(':')?;
    let (length, rest) = rest.split_once(':')?;
    let (life, token) = rest.split_at_checked(length.parse().ok()?)?;
    Some((token.into(), Life { life, version: version.parse().ok()? }))
}

fn is_lost((_, signal): &(ClaimRef, Signal)) -> bool {
    *signal == Signal::Lost
}

/// Claims as the queue knows them; those of another store are left out.
fn unwrapped_all<'a>(claims: impl Iterator<Item = &'a ClaimRef>) -> Vec<ClaimRef> {
    let unwrap = |claim: &ClaimRef| unwrapped(&claim.token).map(|(token, _)| ClaimRef { token, ..claim.clone() });
    claims.filter_map(unwrap).collect()
}

fn record_stream(claim: &ClaimRef) -> Result<StreamName> {
    StreamName::new(format!("nq:settle:{}", fitting_stream(&format!("{}:{}", claim.queue, claim.job), 200)))
}

#[async_trait]
impl Store for SplitJobStore {
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
        let mut rows = self.jobs.sweep().await?;
        if self.events_apart {
            rows += self.events.sweep().await?;
        }
        let also_events = self.events_apart && self.state.realm() == self.events.realm();
        if self.state_apart && !also_events {
            rows += self.state.sweep().await?;
        }
        Ok(rows)
    }

    async fn close(&self) -> Result<()> {
        self.jobs.close().await
    }
}

#[async_trait]
impl JobStore for SplitJobStore {
    fn lease(&self) -> Duration {
        self.jobs.lease()
    }

    fn hears(&self) -> bool {
        self.jobs.hears()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        let mut fresh = Vec::new();
        // None is brief: each job's record is read first.
        let wants: Vec<Want> = wants.iter().map(|want| Want { brief: false, ..want.clone() }).collect();
        for job in self.jobs.claim(&wants).await? {
            match self.replay(&job).await {
                Ok(handed_on) => fresh.extend(handed_on),
                Err(error) => {
                    // Without its record it must not run: it goes back, and is tried again.
                    tracing::warn!(job = %job.claim, %error, "failed to look for its settlement record");
                    self.jobs.release(&[job.claim]).await?;
                }
            }
        }
        Ok(fresh)
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        let mut verdicts: Vec<Option<Verdict>> = Vec::with_capacity(batch.len());
        let (mut places, mut queue) = (Vec::new(), Vec::new());
        for (place, settlement) in batch.iter().enumerate() {
            verdicts.push(match self.prepare(settlement).await? {
                Step::Answered(verdict) => Some(verdict),
                Step::Queue(settlement) => {
                    places.push(place);
                    queue.push(settlement);
                    None
                }
            });
        }
        let answers = if queue.is_empty() { Vec::new() } else { self.jobs.settle(&queue).await? };
        for (place, answer) in places.into_iter().zip(answers) {
            verdicts[place] = Some(answer);
        }
        Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::LostClaim)).collect())
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        let signals = self.jobs.beat(&unwrapped_all(held.iter())).await?;
        let told: HashMap<&str, Signal> = signals.iter().map(|(claim, signal)| (&*claim.token, *signal)).collect();
        let answer = |claim: &ClaimRef| match unwrapped(&claim.token) {
            Some((token, _)) => told.get(&*token).copied(),
            None => Some(Signal::Lost),
        };
        Ok(held.iter().filter_map(|claim| answer(claim).map(|signal| (claim.clone(), signal))).collect())
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        let unwrap = |note: &Progress| {
            let (token, _) = unwrapped(&note.claim.token)?;
            Some(Progress { claim: ClaimRef { token, ..note.claim.clone() }, value: note.value.clone() })
        };
        let notes: Vec<Progress> = notes.iter().filter_map(unwrap).collect();
        self.jobs.progress(&notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        self.jobs.release(&unwrapped_all(held.iter())).await
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
