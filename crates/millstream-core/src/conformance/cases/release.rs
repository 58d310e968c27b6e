//! Claims given back.

use crate::{
    JobState,
    conformance::{
        case::{cases, ensure_eq},
        world::{done, id, ids, job, numbered, q},
    },
};

cases! {
    /// A released job is waiting at once, and no attempt is burned, however often.
    #[breaks_on(BurnedAttempt)]
    async fn a_released_job_is_ready_and_unburned(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(1)).await?;
        for _ in 0..4 {
            let claimed = world.take().await?;
            ensure_eq!(claimed.attempt, 1, "its attempt");
            world.jobs.release(&[claimed.claim]).await?;
            ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "its state");
        }
        world.settle(&world.take().await?, done()).await?;
        Ok(())
    }

    /// A claim that no longer holds is skipped, the others are released.
    #[breaks_on(StrictRelease)]
    async fn a_lost_claim_does_not_keep_the_others(world: &World) -> Checked {
        world.add_all(numbered(3)).await?;
        let claimed = world.claim(&q(), 3).await?;
        let lost = claimed[0].claim.clone();
        world.jobs.release(std::slice::from_ref(&lost)).await?;
        let first = world.take().await?;
        ensure_eq!(first.claim.job, id("0"), "the job that was released first");
        let all: Vec<_> = claimed.into_iter().map(|one| one.claim).collect();
        world.jobs.release(&all).await?;
        ensure_eq!(ids(&world.claim(&q(), 5).await?), ["1", "2"], "jobs that are ready again");
        Ok(())
    }
}
