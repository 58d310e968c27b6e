//! Jobs whose holder vanished.

use crate::{
    JobState,
    conformance::{
        case::{Failure, cases, ensure, ensure_eq},
        world::{LEASE, done, id, job, numbered, q, secs},
    },
};

cases! {
    /// A job whose claim expired is waiting again, at once, its attempt burned.
    #[breaks_on(NoRescue, UncountedAttempt)]
    async fn an_expired_claim_comes_back_burned(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        world.take().await?;
        world.advance(LEASE + secs(1)).await?;
        ensure_eq!(world.jobs.rescue().await?, 1, "jobs rescued");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "its state");
        ensure_eq!(world.take().await?.attempt, 2, "its attempt");
        Ok(())
    }

    /// A live claim is left alone, next to one that expired.
    #[breaks_on(RescuesLiving)]
    async fn a_live_claim_is_left_alone(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        world.take().await?;
        world.advance(LEASE - secs(1)).await?;
        let living = world.take().await?;
        world.advance(secs(2)).await?;
        ensure_eq!(world.jobs.rescue().await?, 1, "jobs rescued");
        ensure_eq!(world.state_of(&id("0")).await?, JobState::Waiting, "the expired one");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Active, "the living one");
        world.settle(&living, done()).await?;
        Ok(())
    }

    /// A job whose last attempt expired is failed, and says why.
    #[breaks_on(NoRescue, ForgetsResults)]
    async fn an_expired_last_attempt_fails_the_job(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(1)).await?;
        world.take().await?;
        world.advance(LEASE + secs(1)).await?;
        ensure_eq!(world.jobs.rescue().await?, 1, "jobs rescued");
        let job = world.look(&id("1")).await?;
        ensure_eq!(job.state, JobState::Failed, "its state");
        ensure!(job.error.is_some() && job.finished_at.is_some(), "error and end of it are kept: {job:?}");
        world.nothing_ready("the job is failed").await
    }

    /// A job whose cancel was asked for is cancelled when its holder vanished.
    #[breaks_on(NoRescue, IgnoredCancel)]
    async fn an_expired_job_is_cancelled_where_asked(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        world.take().await?;
        ensure!(world.queue.cancel(&q(), &id("1")).await?, "it runs");
        world.advance(LEASE + secs(1)).await?;
        world.jobs.rescue().await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Cancelled, "its state");
        Ok(())
    }

    /// However many processes rescue at once, each job is rescued once.
    #[breaks_on(NoRescue)]
    async fn racing_rescuers_rescue_once(world: &World) -> Checked {
        world.add_all(numbered(20)).await?;
        ensure_eq!(world.claim(&q(), 20).await?.len(), 20, "jobs claimed");
        world.advance(LEASE + secs(1)).await?;
        let second = world.second().await?;
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..4 {
            let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
            racing.spawn(async move { handle.jobs.rescue().await });
        }
        let mut rescued = 0;
        while let Some(count) = racing.join_next().await {
            rescued += count.map_err(Failure::new)??;
        }
        ensure_eq!(rescued, 20, "jobs rescued by all of them");
        let claimed = world.claim(&q(), 30).await?;
        ensure_eq!(claimed.len(), 20, "jobs that are ready again");
        ensure!(claimed.iter().all(|one| one.attempt == 2), "each attempt was burned once");
        Ok(())
    }
}
