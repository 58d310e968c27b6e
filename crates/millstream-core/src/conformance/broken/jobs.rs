//! The broken worker's side.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{Broken, Fault, queue::would_be};
use crate::{
    ClaimRef, Claimed, Effects, Error, JobStore, NewJob, Outcome, Progress, Result, Settlement, Signal, Timestamp,
    Verdict, Wake, Want,
};

impl Broken {
    fn wants(&self, wants: &[Want]) -> Vec<Want> {
        let mut wants = wants.to_vec();
        if self.has(Fault::OneQueueOnly) {
            wants.truncate(1);
        }
        if self.has(Fault::IgnoresCaps) {
            wants.iter_mut().for_each(|want| want.at_most += 1);
        }
        let paused = self.paused_here().clone();
        if !paused.is_empty() && self.has(Fault::LocalPause) {
            wants.retain(|want| !paused.contains(&want.queue));
        }
        wants
    }

    /// Remembers who holds what, and answers what the broken store hands out.
    fn handed_out(&self, claimed: Vec<Claimed>, wants: &[Want]) -> Vec<Claimed> {
        let mut out = claimed.clone();
        if self.has(Fault::DoubleClaim) {
            let held = self.memory().held.values().cloned().collect::<Vec<_>>();
            out.extend(held.into_iter().filter(|old| {
                wants.iter().any(|want| want.queue == old.claim.queue && want.at_most as usize > claimed.len())
            }));
        }
        for one in claimed {
            self.memory().held.insert((one.claim.queue.clone(), one.claim.job.clone()), one);
        }
        if self.has(Fault::ReversedClaims) {
            out.reverse();
        }
        if self.has(Fault::ReleaseJumpsQueue) {
            let released = self.memory().released.clone();
            out.sort_by_key(|one| !released.contains(&(one.claim.queue.clone(), one.claim.job.clone())));
        }
        for one in &mut out {
            if self.has(Fault::BareClaim) {
                (one.timeout, one.trace, one.data) = (None, None, Value::Null);
                one.group = None;
            }
            if self.has(Fault::UncountedAttempt) {
                one.attempt = 1;
            }
            if self.has(Fault::OneLife) {
                one.life = "life".into();
            }
            if self.has(Fault::RestlessLife) {
                one.life = one.claim.token.clone();
            }
            if self.has(Fault::ReusedToken) {
                one.claim.token = "token".into();
            }
        }
        out
    }

    /// The claim that holds now on the job of this one.
    fn current(&self, claim: &ClaimRef) -> ClaimRef {
        let memory = self.memory();
        let held = memory.held.get(&(claim.queue.clone(), claim.job.clone()));
        held.map_or_else(|| claim.clone(), |claimed| claimed.claim.clone())
    }

    fn translated(&self, held: &[ClaimRef], faults: &[Fault]) -> Vec<ClaimRef> {
        let unfenced = faults.iter().any(|fault| self.has(*fault));
        held.iter().map(|claim| if unfenced { self.current(claim) } else { claim.clone() }).collect()
    }

    fn spoiled_outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Retry { after, .. } if self.has(Fault::UncountedAttempt) => {
                Outcome::Snooze(after.unwrap_or(Duration::from_secs(1)))
            }
            Outcome::Retry { error, .. } if self.has(Fault::EarlyDelayed) => {
                Outcome::Retry { error, after: Some(Duration::ZERO) }
            }
            Outcome::Retry { error, .. } if self.has(Fault::IgnoresAfter) => Outcome::Retry { error, after: None },
            Outcome::Snooze(after) if self.has(Fault::BurnedAttempt) => {
                Outcome::Retry { error: Value::Null, after: Some(after) }
            }
            Outcome::Snooze(_) if self.has(Fault::EarlyDelayed) => Outcome::Snooze(Duration::ZERO),
            Outcome::Fail(error) | Outcome::Cancel(error) if self.has(Fault::NeverEnds) => {
                Outcome::Retry { error, after: None }
            }
            other => other,
        }
    }

    async fn spoiled_settlement(&self, settlement: &Settlement) -> Result<Settlement> {
        let mut spoiled = settlement.clone();
        spoiled.outcome = self.spoiled_outcome(spoiled.outcome);
        if self.has(Fault::ReusedToken) {
            spoiled.claim = self.current(&settlement.claim);
        }
        if self.has(Fault::DroppedEffects) {
            spoiled.effects = Effects::default();
        }
        if self.has(Fault::ForgottenKey) {
            spoiled.effects.append.iter_mut().for_each(|append| append.key = None);
        }
        if self.has(Fault::BlindExpected) {
            spoiled.effects.append.iter_mut().for_each(|append| append.expected = None);
        }
        if self.has(Fault::CancelWins) {
            let job = self.inner.queue.job(&settlement.claim.queue, &settlement.claim.job).await?;
            if job.is_some_and(|job| job.cancel_requested) {
                spoiled.outcome = Outcome::Cancel(Value::Null);
            }
        }
        Ok(spoiled)
    }

    async fn write(&self, effects: &Effects) -> Result<()> {
        self.inner.events.append(&effects.append).await?;
        self.inner.queue.enqueue(&effects.enqueue).await?;
        self.inner.state.apply(&effects.state).await
    }

    /// What the broken store makes of a verdict.
    async fn misjudged(&self, settlement: &Settlement, verdict: Verdict) -> Result<Verdict> {
        match verdict {
            Verdict::LostClaim if self.has(Fault::NoFence) => {
                let taken_over = Settlement { claim: self.current(&settlement.claim), ..settlement.clone() };
                match self.inner.jobs.settle(&[taken_over]).await?.pop() {
                    Some(Verdict::Settled(state)) => Ok(Verdict::Settled(state)),
                    _ => Ok(Verdict::Settled(would_be(&settlement.outcome))),
                }
            }
            Verdict::LostClaim if self.has(Fault::UnfencedEffects) => {
                self.write(&settlement.effects).await?;
                Ok(verdict)
            }
            Verdict::EffectRefused(_) if self.has(Fault::OutcomeWithoutEffects) => {
                let bare = Settlement { effects: Effects::default(), ..settlement.clone() };
                self.inner.jobs.settle(&[bare]).await?;
                Ok(verdict)
            }
            Verdict::EffectRefused(Error::Invalid { .. }) if self.has(Fault::SilentLimit) => {
                Ok(Verdict::Settled(would_be(&settlement.outcome)))
            }
            other => Ok(other),
        }
    }

    /// One by one, and nothing more after the first refused effect.
    async fn settle_until_refused(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        let mut verdicts: Vec<Verdict> = Vec::new();
        for settlement in batch {
            let verdict = match verdicts.last() {
                Some(Verdict::EffectRefused(error)) => Verdict::EffectRefused(error.clone()),
                _ => self.inner.jobs.settle(std::slice::from_ref(settlement)).await?.remove(0),
            };
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }
}

#[async_trait]
impl JobStore for Broken {
    fn lease(&self) -> Duration {
        self.inner.jobs.lease()
    }

    fn hears(&self) -> bool {
        self.has(Fault::DeafListener) || self.inner.jobs.hears()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        if wants.is_empty() && self.has(Fault::RefusesEmpty) {
            return Err(Error::invalid("wants", 0, "at least one"));
        }
        let claimed = self.inner.jobs.claim(&self.wants(wants)).await?;
        if self.has(Fault::LooseBrief) && wants.iter().all(|want| want.brief) {
            let loose: Vec<ClaimRef> = claimed.iter().map(|one| one.claim.clone()).collect();
            self.inner.jobs.release(&loose).await?;
        }
        Ok(self.handed_out(claimed, wants))
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        if batch.is_empty() && self.has(Fault::RefusesEmpty) {
            return Err(Error::invalid("batch", 0, "at least one"));
        }
        let mut spoiled = Vec::with_capacity(batch.len());
        for settlement in batch {
            spoiled.push(self.spoiled_settlement(settlement).await?);
        }
        if self.has(Fault::NeighbourFails) {
            return self.settle_until_refused(&spoiled).await;
        }
        if self.has(Fault::LostSettle)
            && let Some(last) = spoiled.pop()
        {
            let mut verdicts = self.inner.jobs.settle(&spoiled).await?;
            verdicts.push(Verdict::Settled(would_be(&last.outcome)));
            return Ok(verdicts);
        }
        let mut verdicts = Vec::with_capacity(batch.len());
        for (settlement, verdict) in spoiled.iter().zip(self.inner.jobs.settle(&spoiled).await?) {
            verdicts.push(self.misjudged(settlement, verdict).await?);
        }
        if self.has(Fault::ShuffledAnswers) {
            verdicts.reverse();
        }
        Ok(verdicts)
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        if self.has(Fault::BeatForgets) {
            return Ok(Vec::new());
        }
        if self.has(Fault::BeatRenewsAll) {
            self.inner.jobs.beat(&self.all_held()).await?;
        }
        let named = self.translated(held, &[Fault::ReusedToken]);
        let mut signals = self.inner.jobs.beat(&named).await?;
        if self.has(Fault::NeverLost) {
            signals.retain(|(_, signal)| *signal != Signal::Lost);
        }
        if self.has(Fault::AlarmedBeat) {
            signals = held.iter().map(|claim| (claim.clone(), Signal::Lost)).collect();
        }
        Ok(signals)
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        let unfenced = self.has(Fault::UnfencedProgress);
        let mut notes = notes.to_vec();
        if unfenced {
            notes.iter_mut().for_each(|note| note.claim = self.current(&note.claim));
        }
        self.inner.jobs.progress(&notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        let held = self.translated(held, &[Fault::UnfencedRelease]);
        if self.has(Fault::BurnedAttempt) {
            let burn = |claim: ClaimRef| Settlement {
                claim,
                outcome: Outcome::Retry { error: Value::Null, after: Some(Duration::ZERO) },
                effects: Effects::default(),
            };
            self.inner.jobs.settle(&held.into_iter().map(burn).collect::<Vec<_>>()).await?;
            return Ok(());
        }
        if self.has(Fault::StrictRelease) && held.iter().any(|claim| self.current(claim) != *claim) {
            return Ok(());
        }
        self.memory().released.extend(held.iter().map(|claim| (claim.queue.clone(), claim.job.clone())));
        self.inner.jobs.release(&held).await
    }

    async fn rescue(&self) -> Result<u64> {
        if self.has(Fault::NoRescue) {
            return Ok(0);
        }
        if self.has(Fault::RescuesLiving) {
            self.inner.jobs.release(&self.all_held()).await?;
        }
        self.inner.jobs.rescue().await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        if self.has(Fault::NeverDue) {
            return Ok(None);
        }
        let next = self.inner.jobs.promote_due().await?;
        Ok(if self.has(Fault::NoNextDue) { None } else { next })
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        if self.has(Fault::LostTick) {
            return Ok(None);
        }
        let before = self.inner.queue.schedules(None).await?;
        let next = self.inner.jobs.fire_schedules().await?;
        if self.has(Fault::DoubleTick) {
            for info in self.inner.queue.schedules(None).await? {
                if before.iter().any(|old| old.schedule.key == info.schedule.key && old.last_at != info.last_at) {
                    let schedule = info.schedule;
                    let again = NewJob::new(schedule.queue, schedule.name, schedule.data);
                    self.inner.queue.enqueue(&[again]).await?;
                }
            }
        }
        Ok(next)
    }

    async fn wait(&self, queues: &[crate::QueueName]) -> Wake {
        if self.has(Fault::LostWakeUp) || self.has(Fault::DeafListener) {
            std::future::pending::<()>().await;
        }
        self.inner.jobs.wait(queues).await
    }
}
