//! Workers in parallel: nobody knows the order, so only what must always hold is checked.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;

use super::below;
use crate::{
    ClaimRef, Effects, JobCounts, JobId, JobsQuery, Outcome, SeededEntropy, Settlement, Verdict,
    conformance::{
        case::{Checked, Failure, ensure, ensure_eq},
        world::{Handle, World, done, id, job, q},
    },
};

const WORKERS: u64 = 6;
/// Rounds of the last drain: every job has few attempts, so a drain that takes more never ends.
const DRAIN_ROUNDS_MAX: u32 = 200;

/// What all workers together have seen. Every worker writes; it is read at the end.
#[derive(Default)]
struct Ledger {
    created: HashSet<JobId>,
    /// Who holds a job now. Entered after a claim, struck out before a settle or release is sent.
    held: HashMap<JobId, ClaimRef>,
    /// Settles that were accepted, by claim.
    accepted: HashMap<ClaimRef, u32>,
    /// Settles that ended a job.
    ended: HashMap<JobId, u32>,
}

struct Worker {
    handle: Handle,
    entropy: SeededEntropy,
    name: u64,
    mine: Vec<ClaimRef>,
    lost: Vec<ClaimRef>,
    ledger: Arc<Mutex<Ledger>>,
}

pub(super) async fn run(world: &World, seed: u64, steps: u64) -> Checked {
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let second = world.second().await?;
    let mut racing = tokio::task::JoinSet::new();
    for name in 0..WORKERS {
        let handle = if name % 2 == 0 { (**world).clone() } else { second.clone() };
        let entropy = SeededEntropy::new(seed.wrapping_mul(WORKERS).wrapping_add(name));
        let worker = Worker { handle, entropy, name, mine: Vec::new(), lost: Vec::new(), ledger: ledger.clone() };
        racing.spawn(worker.work(steps / WORKERS));
    }
    while let Some(worked) = racing.join_next().await {
        worked.map_err(Failure::new)??;
    }
    drain(world, &ledger).await?;
    nothing_lost(world, &ledger).await
}

fn open(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    async fn work(mut self, steps: u64) -> Checked {
        for step in 0..steps {
            match below(&self.entropy, 10) {
                0..3 => self.enqueue(step).await?,
                3..5 => self.claim().await?,
                5..7 => self.settle().await?,
                7 => self.settle_lost().await?,
                8 => self.release().await?,
                _ => {
                    self.handle.jobs.promote_due().await?;
                    ensure_eq!(self.handle.jobs.beat(&self.mine).await?, vec![], "the answer of a beat");
                }
            }
        }
        let mine = std::mem::take(&mut self.mine);
        mine.iter().for_each(|claim| drop(open(&self.ledger).held.remove(&claim.job)));
        Ok(self.handle.jobs.release(&mine).await?)
    }

    async fn enqueue(&self, step: u64) -> Checked {
        let count = 1 + below(&self.entropy, 3);
        let jobs = (0..count).map(|n| job().id(id(&format!("{}.{step}.{n}", self.name)))).collect();
        let created = self.handle.add_all(jobs).await?;
        open(&self.ledger).created.extend(created);
        Ok(())
    }

    async fn claim(&mut self) -> Checked {
        for one in self.handle.claim(&q(), 1 + below(&self.entropy, 4) as u32).await? {
            let before = open(&self.ledger).held.insert(one.claim.job.clone(), one.claim.clone());
            ensure!(before.is_none(), "{} was claimed while {before:?} holds it", one.claim);
            self.mine.push(one.claim);
        }
        Ok(())
    }

    /// One of its claims, which it is about to give up.
    fn give_up(&mut self) -> Option<ClaimRef> {
        if self.mine.is_empty() {
            return None;
        }
        let chosen = below(&self.entropy, self.mine.len() as u64) as usize;
        let claim = self.mine.swap_remove(chosen);
        open(&self.ledger).held.remove(&claim.job);
        self.lost.push(claim.clone());
        Some(claim)
    }

    async fn settle(&mut self) -> Checked {
        let Some(claim) = self.give_up() else { return Ok(()) };
        let outcome = match below(&self.entropy, 4) {
            0 => Outcome::Retry { error: json!("failed"), after: Some(Duration::ZERO) },
            1 => Outcome::Snooze(Duration::ZERO),
            _ => done(),
        };
        match self.handle.settle_with(&claim, outcome, Effects::default()).await? {
            Verdict::Settled(state) => {
                let mut ledger = open(&self.ledger);
                *ledger.accepted.entry(claim.clone()).or_default() += 1;
                if state.is_finished() {
                    *ledger.ended.entry(claim.job).or_default() += 1;
                }
                Ok(())
            }
            other => Err(Failure::new(format_args!("{claim} holds, yet its settle got {other:?}"))),
        }
    }

    async fn settle_lost(&self) -> Checked {
        let Some(claim) = self.lost.last().cloned() else { return Ok(()) };
        let settlement = Settlement { claim: claim.clone(), outcome: done(), effects: Effects::default() };
        for verdict in self.handle.jobs.settle(&[settlement.clone(), settlement]).await? {
            ensure!(matches!(verdict, Verdict::LostClaim), "{claim} was given up, yet its settle got {verdict:?}");
        }
        Ok(())
    }

    async fn release(&mut self) -> Checked {
        let Some(claim) = self.give_up() else { return Ok(()) };
        Ok(self.handle.jobs.release(&[claim]).await?)
    }
}

/// Works until nothing is left.
async fn drain(world: &World, ledger: &Mutex<Ledger>) -> Checked {
    for _ in 0..DRAIN_ROUNDS_MAX {
        world.jobs.promote_due().await?;
        let claimed = world.claim(&q(), 50).await?;
        for one in &claimed {
            world.settle(one, done()).await?;
            *open(ledger).ended.entry(one.claim.job.clone()).or_default() += 1;
        }
        if claimed.is_empty() && world.counts().await?.unfinished() == 0 {
            return Ok(());
        }
    }
    Err(Failure::new(format_args!("{:?} after {DRAIN_ROUNDS_MAX} rounds of work", world.counts().await?)))
}

/// Every job that was acknowledged ended once, and the listing and the counts say so.
async fn nothing_lost(world: &World, ledger: &Mutex<Ledger>) -> Checked {
    let listed = world.list(JobsQuery { limit: 50, ..JobsQuery::of(q()) }).await?;
    let mut counts = JobCounts::default();
    listed.iter().for_each(|job| *counts.of_mut(job.state) += 1);
    ensure_eq!(world.counts().await?, counts, "the counts, and those of the listing");
    let ledger = open(ledger);
    let found: HashSet<JobId> = listed.iter().map(|job| job.id.clone()).collect();
    ensure_eq!(found, ledger.created, "the jobs listed, and those created");
    ensure_eq!(listed.len(), ledger.created.len(), "rows listed");
    for job in &listed {
        ensure_eq!(ledger.ended.get(&job.id), Some(&1), "how often {} ended", job.id);
    }
    ensure!(ledger.accepted.values().all(|times| *times == 1), "a claim was settled twice: {:?}", ledger.accepted);
    Ok(())
}
