//! A handler that wants to run later.

use std::time::Duration;

use crate::{
    JobState, Outcome,
    conformance::{
        case::{cases, ensure_eq},
        world::{done, id, job, secs},
    },
};

cases! {
    /// A snoozed job is delayed until its time.
    #[breaks_on(EarlyDelayed, NeverDue)]
    async fn a_snoozed_job_waits_for_its_time(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let state = world.settle(&world.take().await?, Outcome::Snooze(secs(20))).await?;
        ensure_eq!(state, JobState::Delayed, "the verdict");
        ensure_eq!(world.look(&id("1")).await?.run_at, world.now().await? + secs(20), "when it runs again");
        world.advance(secs(19)).await?;
        world.nothing_ready("the snooze has not passed").await?;
        world.advance(secs(1)).await?;
        world.jobs.promote_due().await?;
        world.settle(&world.take().await?, done()).await?;
        Ok(())
    }

    /// A job on its last attempt may snooze as often as it likes.
    #[breaks_on(BurnedAttempt)]
    async fn snoozing_burns_no_attempt(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(1)).await?;
        for _ in 0..5 {
            let claimed = world.take().await?;
            ensure_eq!(claimed.attempt, 1, "its attempt");
            world.settle(&claimed, Outcome::Snooze(Duration::from_millis(10))).await?;
            world.advance(secs(1)).await?;
            world.jobs.promote_due().await?;
        }
        world.settle(&world.take().await?, done()).await?;
        Ok(())
    }
}
