//! Jobs that wait for their time.

use crate::{
    JobState,
    conformance::{
        case::{cases, ensure_eq},
        world::{id, ids, job, q, secs},
    },
};

cases! {
    /// A delayed job is not claimed before its time, and is claimed then.
    #[breaks_on(EarlyDelayed, NeverDue)]
    async fn a_delayed_job_waits_for_its_time(world: &World) -> Checked {
        let now = world.now().await?;
        world.add(job().id(id("after")).delay(secs(10))).await?;
        world.add(job().id(id("at")).run_at(now + secs(20))).await?;
        let job = world.look(&id("after")).await?;
        ensure_eq!((job.state, job.run_at), (JobState::Delayed, now + secs(10)), "state and time");
        world.advance(secs(9)).await?;
        world.nothing_ready("no time has come").await?;
        world.advance(secs(1)).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(world.state_of(&id("after")).await?, JobState::Waiting, "the state at its time");
        ensure_eq!(ids(&world.claim(&q(), 5).await?), ["after"], "jobs claimed after 10 s");
        world.advance(secs(10)).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(ids(&world.claim(&q(), 5).await?), ["at"], "jobs claimed after 20 s");
        Ok(())
    }

    /// A time in the past is now.
    #[breaks_on(LostJob)]
    async fn a_time_in_the_past_is_now(world: &World) -> Checked {
        let past = world.now().await? - secs(3600);
        world.add(job().id(id("1")).run_at(past)).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "its state");
        world.take().await?;
        Ok(())
    }

    /// Whoever promotes is told when the next job is due.
    #[breaks_on(NoNextDue, NeverDue)]
    async fn the_next_due_time_is_told(world: &World) -> Checked {
        let now = world.now().await?;
        ensure_eq!(world.jobs.promote_due().await?, None, "with nothing delayed");
        world.add(job().delay(secs(30))).await?;
        world.add(job().delay(secs(10))).await?;
        ensure_eq!(world.jobs.promote_due().await?, Some(now + secs(10)), "with two delayed");
        world.advance(secs(15)).await?;
        ensure_eq!(world.jobs.promote_due().await?, Some(now + secs(30)), "with one delayed");
        world.advance(secs(15)).await?;
        ensure_eq!(world.jobs.promote_due().await?, None, "when all are ready");
        ensure_eq!(world.claim(&q(), 5).await?.len(), 2, "jobs claimed");
        Ok(())
    }
}
