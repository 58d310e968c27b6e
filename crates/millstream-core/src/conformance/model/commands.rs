//! Random commands, one after another, through two handles: the store and the reference agree after each.

use std::{collections::VecDeque, time::Duration};

use serde_json::json;

use super::{
    below,
    reference::{Place, Reference},
};
use crate::{
    Backoff, ClaimRef, Effects, JobsQuery, NewJob, Outcome, QueueName, SeededEntropy, Settlement, Verdict, Want,
    conformance::{
        case::{Checked, Failure, ensure, ensure_eq},
        world::{Handle, LEASE, World, id, job_in, queue, secs},
    },
};

/// Time moves by multiples of this, which never add up to a lease: what holds at its very last moment is left open.
const TICK: Duration = Duration::from_secs(7);
const BACKOFF: Duration = Duration::from_secs(10);
/// Commands that a failure tells of.
const TOLD: usize = 12;

struct Model<'w> {
    world: &'w World,
    handles: [Handle; 2],
    entropy: SeededEntropy,
    reference: Reference,
    queues: [QueueName; 2],
    /// Every claim that was ever given out, lost or not.
    claims: Vec<ClaimRef>,
    told: VecDeque<String>,
}

pub(super) async fn run(world: &World, seed: u64, steps: u64) -> Checked {
    let mut model = Model {
        world,
        handles: [(**world).clone(), world.second().await?],
        entropy: SeededEntropy::new(seed),
        reference: Reference::new(world.now().await?, LEASE, BACKOFF),
        queues: [queue("a"), queue("b")],
        claims: Vec::new(),
        told: VecDeque::new(),
    };
    for step in 0..steps {
        if let Err(failure) = model.step().await {
            let told = model.told.make_contiguous().join("\n  ");
            return Err(Failure::new(format_args!("step {step}: {failure}\nafter\n  {told}")));
        }
    }
    model.listing_agrees().await
}

impl Model<'_> {
    async fn step(&mut self) -> Checked {
        match below(&self.entropy, 100) {
            0..22 => self.enqueue().await?,
            22..42 => self.claim().await?,
            42..62 => self.settle().await?,
            62..68 => self.beat().await?,
            68..73 => self.release().await?,
            73..80 => self.advance().await?,
            80..85 => self.rescue().await?,
            85..96 => self.operate().await?,
            _ => self.pause().await?,
        }
        self.counts_agree().await
    }

    fn tell(&mut self, what: String) {
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(what);
    }

    fn handle(&self) -> Handle {
        self.handles[below(&self.entropy, 2) as usize].clone()
    }

    fn a_queue(&self) -> QueueName {
        self.queues[below(&self.entropy, 2) as usize].clone()
    }

    fn a_job(&self) -> NewJob {
        let mut job = job_in(self.a_queue().as_str())
            .priority(below(&self.entropy, 3) as i32)
            .attempts(1 + below(&self.entropy, 3) as u32)
            .backoff(Backoff::fixed(BACKOFF));
        if below(&self.entropy, 2) == 0 {
            job = job.id(id(&below(&self.entropy, 12).to_string()));
        }
        if below(&self.entropy, 4) == 0 {
            job = job.delay(secs(1 + below(&self.entropy, 20)));
        }
        job
    }

    async fn enqueue(&mut self) -> Checked {
        let jobs: Vec<NewJob> = (0..=below(&self.entropy, 3)).map(|_| self.a_job()).collect();
        let answers = self.handle().queue.enqueue(&jobs).await?;
        self.tell(format!("enqueue {} -> {answers:?}", jobs.len()));
        ensure_eq!(answers.len(), jobs.len(), "answers");
        for (job, answer) in jobs.iter().zip(&answers) {
            ensure!(job.id.as_ref().is_none_or(|id| id == answer.id()), "the id of {job:?} is {answer:?}");
            let created = self.reference.enqueue(job, answer.id());
            ensure_eq!(answer.is_created(), created, "whether {}/{} is new", job.queue, answer.id());
        }
        Ok(())
    }

    async fn claim(&mut self) -> Checked {
        let mut wants: Vec<Want> =
            self.queues.iter().map(|queue| Want::new(queue.clone(), below(&self.entropy, 4) as u32)).collect();
        wants.truncate(1 + below(&self.entropy, 2) as usize);
        let claimed = self.handle().jobs.claim(&wants).await?;
        self.tell(format!("claim {wants:?} -> {:?}", claimed.iter().map(|one| &one.claim).collect::<Vec<_>>()));
        for want in &wants {
            let mut ready = self.reference.ready(&want.queue);
            ready.truncate(want.at_most as usize);
            let of_queue = claimed.iter().filter(|one| one.claim.queue == want.queue);
            let priorities: Vec<i32> = of_queue.filter_map(|one| self.priority_of(&one.claim)).collect();
            ensure_eq!(priorities, ready, "the priorities of what was claimed from {}", want.queue);
        }
        for one in claimed {
            if let Some(why) = self.reference.claimed(&one) {
                return Err(Failure::new(format_args!("{one:?} was claimed, yet {why}")));
            }
            ensure!(!self.claims.contains(&one.claim), "the claim {:?} came before", one.claim);
            self.claims.push(one.claim);
        }
        Ok(())
    }

    fn priority_of(&self, claim: &ClaimRef) -> Option<i32> {
        self.reference.jobs.get(&(claim.queue.clone(), claim.job.clone())).map(|job| job.priority)
    }

    /// Some claims that were ever given out: the latest more often than lost ones of old.
    fn some_claims(&self) -> Vec<ClaimRef> {
        let known = self.claims.len() as u64;
        if known == 0 {
            return Vec::new();
        }
        let one = |_| {
            let reach = if below(&self.entropy, 4) == 0 { known } else { known.min(5) };
            self.claims[(known - 1 - below(&self.entropy, reach)) as usize].clone()
        };
        (0..=below(&self.entropy, 3)).map(one).collect()
    }

    fn an_outcome(&self) -> Outcome {
        match below(&self.entropy, 8) {
            0..3 => Outcome::Done(json!("done")),
            3..5 => Outcome::Retry { error: json!("failed"), after: None },
            5 => Outcome::Retry { error: json!("failed"), after: Some(secs(3)) },
            6 => Outcome::Snooze(secs(5)),
            _ if below(&self.entropy, 2) == 0 => Outcome::Fail(json!("failed")),
            _ => Outcome::Cancel(json!("cancelled")),
        }
    }

    async fn settle(&mut self) -> Checked {
        let batch: Vec<Settlement> = self
            .some_claims()
            .into_iter()
            .map(|claim| Settlement { claim, outcome: self.an_outcome(), effects: Effects::default() })
            .collect();
        let verdicts = self.handle().jobs.settle(&batch).await?;
        ensure_eq!(verdicts.len(), batch.len(), "verdicts");
        for (settlement, verdict) in batch.iter().zip(verdicts) {
            self.tell(format!("settle {:?} as {:?} -> {verdict:?}", settlement.claim, settlement.outcome));
            let found = match verdict {
                Verdict::Settled(state) => Some(state),
                Verdict::LostClaim => None,
                Verdict::EffectRefused(error) => return Err(error.into()),
            };
            let wanted = self.reference.settle(&settlement.claim, &settlement.outcome);
            ensure_eq!(found, wanted, "the verdict on {:?}", settlement.claim);
        }
        Ok(())
    }

    async fn beat(&mut self) -> Checked {
        let mut claims = self.some_claims();
        claims.sort_by(|a, b| a.token.cmp(&b.token));
        claims.dedup();
        let mut told = self.handle().jobs.beat(&claims).await?;
        self.tell(format!("beat {claims:?} -> {told:?}"));
        told.sort_by(|(a, _), (b, _)| a.token.cmp(&b.token));
        let wanted: Vec<_> =
            claims.into_iter().filter_map(|claim| self.reference.beat(&claim).map(|signal| (claim, signal))).collect();
        ensure_eq!(told, wanted, "what a beat tells");
        Ok(())
    }

    async fn release(&mut self) -> Checked {
        let claims = self.some_claims();
        self.handle().jobs.release(&claims).await?;
        self.tell(format!("release {claims:?}"));
        claims.iter().for_each(|claim| self.reference.release(claim));
        Ok(())
    }

    /// Time moves, and with it what is due: whether a delayed job can be seen as such in between is left open.
    async fn advance(&mut self) -> Checked {
        let by = TICK * (1 + below(&self.entropy, 4) as u32);
        self.world.advance(by).await?;
        self.reference.now = self.world.now().await?;
        self.tell(format!("advance {by:?}"));
        let next = self.handle().jobs.promote_due().await?;
        ensure_eq!(next, self.reference.promote_due(), "when the next delayed job is due");
        Ok(())
    }

    async fn rescue(&mut self) -> Checked {
        let rescued = self.handle().jobs.rescue().await?;
        self.tell(format!("rescue -> {rescued}"));
        ensure_eq!(rescued, self.reference.rescue(), "jobs rescued");
        Ok(())
    }

    async fn operate(&mut self) -> Checked {
        let known = self.reference.jobs.len() as u64;
        let some = (known > 0).then(|| self.reference.jobs.keys().nth(below(&self.entropy, known) as usize)).flatten();
        let place: Place = some.cloned().unwrap_or_else(|| (self.a_queue(), id("missing")));
        let (queue, id) = (&place.0, &place.1);
        let handle = self.handle();
        let (word, found, wanted) = match below(&self.entropy, 4) {
            0 => ("cancel", handle.queue.cancel(queue, id).await?, self.reference.cancel(&place)),
            1 => ("retry", handle.queue.retry(queue, id).await?, self.reference.retry(&place)),
            2 => ("remove", handle.queue.remove(queue, id).await?, self.reference.remove(&place)),
            _ => ("promote", handle.queue.promote(queue, id).await?, self.reference.promote(&place)),
        };
        self.tell(format!("{word} {queue}/{id} -> {found}"));
        ensure_eq!(found, wanted, "the answer of {word} {queue}/{id}");
        Ok(())
    }

    async fn pause(&mut self) -> Checked {
        let queue = self.a_queue();
        if self.reference.paused.remove(&queue) {
            self.handle().queue.resume(&queue).await?;
            self.tell(format!("resume {queue}"));
        } else {
            self.handle().queue.pause(&queue).await?;
            self.tell(format!("pause {queue}"));
            self.reference.paused.insert(queue);
        }
        Ok(())
    }

    async fn counts_agree(&self) -> Checked {
        for queue in &self.queues {
            let found = self.handle().queue.counts(queue).await?;
            ensure_eq!(found, self.reference.counts(queue), "the counts of {queue}");
        }
        Ok(())
    }

    async fn listing_agrees(&self) -> Checked {
        for queue in &self.queues {
            let listed = self.handle().list(JobsQuery { limit: 7, ..JobsQuery::of(queue.clone()) }).await?;
            ensure_eq!(listed.len() as u64, self.reference.counts(queue).total(), "jobs listed of {queue}");
            for job in listed {
                let Some(known) = self.reference.jobs.get(&(job.queue.clone(), job.id.clone())) else {
                    return Err(Failure::new(format_args!("{}/{} is listed, and should not exist", job.queue, job.id)));
                };
                let found = (job.state, job.attempt, job.settings.attempts, job.settings.priority);
                let wanted = (known.state, known.attempt, known.attempts, known.priority);
                ensure_eq!(found, wanted, "state, attempt, attempts, priority of {}/{}", job.queue, job.id);
            }
        }
        Ok(())
    }
}
