//! The claim alone is the fence: who lost it changes nothing any more.

use serde_json::json;

use crate::{
    Append, Effects, JobState, Progress, Settlement, StateOp, Verdict,
    conformance::{
        case::{cases, ensure, ensure_eq, ensure_matches},
        world::{LEASE, again, done, event, failed, id, job, numbered, q, secs, stream},
    },
};

cases! {
    /// A claim is settled once.
    #[breaks_on(NoFence)]
    async fn a_second_settle_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.settle(&claimed, done()).await?;
        world.refused(&claimed).await
    }

    /// Two settlements of one claim in one batch: the second is refused.
    #[breaks_on(NoFence)]
    async fn a_second_settle_in_the_same_batch_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claim = world.take().await?.claim;
        let settle = |outcome| Settlement { claim: claim.clone(), outcome, effects: Effects::default() };
        let verdicts = world.jobs.settle(&[settle(done()), settle(failed())]).await?;
        ensure_matches!(verdicts[0], Verdict::Settled(JobState::Completed), "the first");
        ensure_matches!(verdicts[1], Verdict::LostClaim, "the second");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Completed, "the job");
        Ok(())
    }

    /// Who failed an attempt does not settle it again while the job waits.
    #[breaks_on(NoFence)]
    async fn a_late_settle_of_a_retried_job_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.settle(&claimed, failed()).await?;
        world.refused(&claimed).await
    }

    /// Who released a job does not settle it, whether it waits or another holds it.
    #[breaks_on(NoFence)]
    async fn a_late_settle_of_a_released_job_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let first = world.take().await?;
        world.jobs.release(std::slice::from_ref(&first.claim)).await?;
        world.refused(&first).await?;
        let second = world.take().await?;
        world.refused(&first).await?;
        ensure_eq!(world.settle(&second, done()).await?, JobState::Completed, "the holder's own settle");
        Ok(())
    }

    /// Whose job was rescued does not settle it, whether it waits or another holds it.
    #[breaks_on(NoFence)]
    async fn a_late_settle_of_a_rescued_job_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let first = world.take().await?;
        world.advance(LEASE + secs(1)).await?;
        ensure_eq!(world.jobs.rescue().await?, 1, "jobs rescued");
        world.refused(&first).await?;
        let second = world.take().await?;
        world.refused(&first).await?;
        ensure_eq!(world.settle(&second, done()).await?, JobState::Completed, "the holder's own settle");
        Ok(())
    }

    /// A lease that ran out is a lost claim, also before anybody rescued the job.
    #[breaks_on(NoFence)]
    async fn a_settle_after_the_lease_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.advance(LEASE + secs(1)).await?;
        world.refused(&claimed).await
    }

    /// Within its lease a claim holds, without a beat.
    #[breaks_on(LostSettle)]
    async fn a_settle_within_the_lease_is_accepted(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.advance(LEASE - secs(1)).await?;
        world.settle(&claimed, done()).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Completed, "the job");
        Ok(())
    }

    /// Whose job was removed does not settle it, nor a new job that took its id.
    #[breaks_on(NoFence)]
    async fn a_late_settle_of_a_removed_job_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        ensure!(world.queue.remove(&q(), &id("1")).await?, "it was there");
        world.refused(&claimed).await?;
        world.add(job().id(id("1"))).await?;
        world.refused(&claimed).await?;
        world.take().await?;
        world.refused(&claimed).await
    }

    /// Whose finished job an operator runs again does not settle it.
    #[breaks_on(NoFence)]
    async fn a_late_settle_of_a_job_retried_by_an_operator_is_refused(world: &World) -> Checked {
        let Some(first) = world.bring(&id("1"), JobState::Failed).await? else { return Ok(()) };
        ensure!(world.queue.retry(&q(), &id("1")).await?, "it was finished");
        world.refused(&first).await?;
        let second = world.take().await?;
        world.refused(&first).await?;
        world.settle(&second, done()).await?;
        Ok(())
    }

    /// A claim opens its own job only.
    #[breaks_on(NoFence)]
    async fn a_token_opens_its_own_job_only(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        let mut claimed = world.claim(&q(), 2).await?;
        ensure_eq!(claimed.len(), 2, "jobs claimed");
        let (first, second) = (claimed[0].claim.token.clone(), claimed[1].claim.token.clone());
        claimed[0].claim.token = second;
        claimed[1].claim.token = first;
        world.refused(&claimed[0]).await?;
        world.refused(&claimed[1]).await
    }

    /// A refused settle writes none of its effects.
    #[breaks_on(UnfencedEffects)]
    async fn a_refused_settle_writes_no_effects(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.settle(&claimed, again()).await?;
        let effects = Effects {
            append: vec![Append::one(stream("s"), event("e"))],
            enqueue: vec![job().id(id("next"))],
            state: vec![StateOp::Set { key: "k".into(), value: json!(1), ttl: None }],
            runs: Vec::new(),
        };
        let verdict = world.settle_with(&claimed.claim, done(), effects).await?;
        ensure_matches!(verdict, Verdict::LostClaim, "the verdict");
        ensure_eq!(world.events.head().await?, 0, "events written");
        ensure_eq!(world.queue.job(&q(), &id("next")).await?, None, "the job enqueued");
        ensure_eq!(world.state.get("k").await?, None, "the state written");
        Ok(())
    }

    /// The progress of who lost the claim is dropped.
    #[breaks_on(UnfencedProgress)]
    async fn progress_of_a_lost_claim_is_dropped(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let first = world.take().await?.claim;
        world.jobs.release(std::slice::from_ref(&first)).await?;
        world.take().await?;
        world.jobs.progress(&[Progress { claim: first, value: json!(99) }]).await?;
        ensure_eq!(world.look(&id("1")).await?.progress, None, "the progress of the new attempt");
        Ok(())
    }

    /// Who lost a claim does not release the next holder's.
    #[breaks_on(UnfencedRelease)]
    async fn a_lost_claim_releases_nobody(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let first = world.take().await?.claim;
        world.jobs.release(std::slice::from_ref(&first)).await?;
        let second = world.take().await?;
        world.jobs.release(&[first]).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Active, "the job");
        world.settle(&second, done()).await?;
        Ok(())
    }
}
