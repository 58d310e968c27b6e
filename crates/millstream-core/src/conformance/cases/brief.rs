//! Claims of jobs that are expected to end soon. A store may write less of them, and keeps what it promises of any claim.

use serde_json::json;

use crate::{
    Append, ClaimRef, Claimed, Effects, JobState, Outcome, Settlement, Verdict, Want,
    conformance::{
        case::{Checked, cases, ensure, ensure_eq, ensure_matches},
        world::{Handle, again, done, event, failed, id, ids, numbered, q, stream},
    },
};

/// So many that it is worth something to any store.
const MANY: usize = 250;

async fn brief(handle: &Handle) -> Checked<Vec<Claimed>> {
    Ok(handle.jobs.claim(&[Want { queue: q(), at_most: MANY as u32, brief: true }]).await?)
}

fn claims(claimed: &[Claimed]) -> Vec<ClaimRef> {
    claimed.iter().map(|one| one.claim.clone()).collect()
}

fn settlement(claimed: &Claimed, outcome: Outcome) -> Settlement {
    Settlement { claim: claimed.claim.clone(), outcome, effects: Effects::default() }
}

/// Waits until a job that nobody settles is told to run.
async fn until_active(handle: &Handle, claimed: &Claimed) -> Checked {
    while handle.state_of(&claimed.claim.job).await? != JobState::Active {
        tokio::task::yield_now().await;
    }
    Ok(())
}

cases! {
    /// Jobs of a brief claim are nobody else's, whatever is written of them.
    #[breaks_on(LooseBrief, DoubleClaim)]
    async fn jobs_of_a_brief_claim_are_nobody_elses(world: &World) -> Checked {
        world.add_all(numbered(MANY)).await?;
        ensure_eq!(brief(world).await?.len(), MANY, "jobs claimed");
        let second = world.second().await?;
        for handle in [&**world, &second] {
            ensure_eq!(ids(&handle.claim(&q(), 5).await?), Vec::<&str>::new(), "those of a plain claim beside it");
            ensure_eq!(ids(&brief(handle).await?), Vec::<&str>::new(), "those of a brief one");
        }
        Ok(())
    }

    /// A brief claim is settled as any other, in one batch or in several, and once.
    #[breaks_on(LostSettle, NoFence)]
    async fn a_brief_claim_is_settled_as_any_other(world: &World) -> Checked {
        world.add_all(numbered(2 * MANY)).await?;
        for batch in [MANY, MANY / 3] {
            let claimed = brief(world).await?;
            ensure_eq!((claimed.len(), claimed[0].attempt), (MANY, 1), "jobs claimed, and their attempt");
            let all: Vec<_> = claimed.iter().map(|one| settlement(one, Outcome::Done(json!("sent")))).collect();
            for some in all.chunks(batch) {
                for verdict in world.jobs.settle(some).await? {
                    ensure_matches!(verdict, Verdict::Settled(JobState::Completed), "a job that is done");
                }
            }
            for one in claimed.iter().step_by(50) {
                let job = world.look(&one.claim.job).await?;
                ensure_eq!((job.state, job.output, job.attempt), (JobState::Completed, Some(json!("sent")), 1), "the job");
                ensure!(job.started_at.is_some() && job.started_at <= job.finished_at, "it has a start, and then an end");
                world.refused(one).await?;
            }
        }
        let counts = world.counts().await?;
        ensure_eq!((counts.completed, counts.waiting, counts.active), (2 * MANY as u64, 0, 0), "the counts");
        Ok(())
    }

    /// Jobs of one brief claim end each in its own way.
    #[breaks_on(NeverEnds, DroppedEffects)]
    async fn jobs_of_a_brief_claim_end_each_in_its_way(world: &World) -> Checked {
        world.add_all(numbered(MANY)).await?;
        let claimed = brief(world).await?;
        let effects = Effects { append: vec![Append::one(stream("brief"), event("sent"))], ..Effects::default() };
        let mut batch: Vec<_> = claimed.iter().map(|one| settlement(one, done())).collect();
        batch[1].outcome = Outcome::Fail(json!("no"));
        batch[2].outcome = again();
        batch[3].effects = effects;
        let states: Vec<_> = world.jobs.settle(&batch).await?;
        for (place, verdict) in states.into_iter().enumerate() {
            let wanted = [JobState::Completed, JobState::Failed, JobState::Waiting].get(place).copied();
            let state = match verdict {
                Verdict::Settled(state) => state,
                other => return Err(crate::conformance::case::Failure::new(format_args!("job {place} got {other:?}"))),
            };
            ensure_eq!(state, wanted.unwrap_or(JobState::Completed), "what became of a job");
        }
        ensure_eq!(world.log("brief").await?.len(), 1, "events of the one that has some");
        let retried = world.take().await?;
        ensure_eq!((retried.claim.job.as_str(), retried.attempt), (claimed[2].claim.job.as_str(), 2), "what runs again");
        Ok(())
    }

    /// What of a brief claim is given back is ready at once, and no attempt is burned.
    #[breaks_on(BurnedAttempt)]
    async fn a_brief_claim_is_given_back(world: &World) -> Checked {
        world.add_all(numbered(MANY)).await?;
        let claimed = brief(world).await?;
        let (some, rest) = claimed.split_at(10);
        world.jobs.release(&claims(some)).await?;
        let taken = world.claim(&q(), MANY as u32).await?;
        ensure_eq!(ids(&taken), ids(some), "jobs that are ready again");
        ensure!(taken.iter().all(|one| one.attempt == 1), "an attempt was burned");
        for one in rest.iter().chain(&taken).step_by(20) {
            world.settle(one, done()).await?;
        }
        Ok(())
    }

    /// Jobs of a brief claim that last are active, are beaten for, and can be cancelled, as any other.
    #[breaks_on(AlarmedBeat)]
    async fn a_brief_claim_that_lasts_is_active(world: &World) -> Checked {
        world.add_all(numbered(MANY)).await?;
        let claimed = brief(world).await?;
        ensure_eq!(world.jobs.beat(&claims(&claimed)).await?, Vec::new(), "what a first beat says");
        for one in [&claimed[0], &claimed[MANY - 1]] {
            until_active(world, one).await?;
        }
        ensure_eq!(world.counts().await?.active, MANY as u64, "active jobs");
        world.queue.cancel(&q(), &claimed[0].claim.job).await?;
        let signals = world.jobs.beat(&claims(&claimed)).await?;
        ensure_eq!(signals, vec![(claimed[0].claim.clone(), crate::Signal::Cancel)], "what a beat says then");
        world.settle(&claimed[1], failed()).await?;
        Ok(())
    }

    /// Who claims, and is never heard of again, has had an attempt.
    #[breaks_on(NoRescue)]
    async fn a_brief_claim_that_nobody_settles_is_rescued(world: &World) -> Checked {
        world.add_all(numbered(MANY)).await?;
        let claimed = brief(world).await?;
        until_active(world, &claimed[0]).await?;
        world.advance(world.jobs.lease() * 2).await?;
        ensure_eq!(world.jobs.rescue().await?, MANY as u64, "jobs rescued");
        let taken = world.take().await?;
        ensure_eq!(taken.attempt, 2, "the attempt after that");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "one that waits");
        Ok(())
    }
}
