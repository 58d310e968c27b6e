//! Somebody asks to cancel a job.

use std::time::Duration;

use serde_json::json;

use crate::{
    JobState, Outcome,
    conformance::{
        case::{Checked, cases, ensure, ensure_eq},
        world::{World, done, failed, id, job, q},
    },
};

/// How the attempt of a job ends whose cancel was asked for.
async fn ends(world: &World, outcome: Outcome, wanted: JobState) -> Checked {
    world.add(job().id(id("1"))).await?;
    let claimed = world.take().await?;
    ensure!(world.queue.cancel(&q(), &id("1")).await?, "it runs");
    let what = format!("{outcome:?} after a cancel");
    ensure_eq!(world.settle(&claimed, outcome).await?, wanted, "the verdict on {what}");
    let job = world.look(&id("1")).await?;
    ensure_eq!(job.state, wanted, "the state on {what}");
    ensure!(job.finished_at.is_some(), "it has a time of its end");
    world.nothing_ready("the job is finished").await
}

cases! {
    /// A waiting job is cancelled at once.
    #[breaks_on(IgnoredCancel)]
    async fn a_waiting_job_is_cancelled_at_once(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        ensure!(world.queue.cancel(&q(), &id("1")).await?, "it waits");
        let job = world.look(&id("1")).await?;
        ensure_eq!((job.state, job.finished_at), (JobState::Cancelled, Some(world.now().await?)), "the job");
        world.nothing_ready("the job is cancelled").await
    }

    /// A delayed job is cancelled at once, and does not come back at its time.
    #[breaks_on(IgnoredCancel)]
    async fn a_delayed_job_is_cancelled_at_once(world: &World) -> Checked {
        world.bring(&id("1"), JobState::Delayed).await?;
        ensure!(world.queue.cancel(&q(), &id("1")).await?, "it is delayed");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Cancelled, "its state");
        world.advance(Duration::from_secs(3600)).await?;
        world.nothing_ready("the job is cancelled").await
    }

    /// A running job goes on, and it is seen that somebody asked.
    #[breaks_on(IgnoredCancel)]
    async fn a_running_job_is_asked(world: &World) -> Checked {
        world.bring(&id("1"), JobState::Active).await?;
        ensure!(!world.look(&id("1")).await?.cancel_requested, "nobody asked yet");
        ensure!(world.queue.cancel(&q(), &id("1")).await?, "it runs");
        let job = world.look(&id("1")).await?;
        ensure_eq!((job.state, job.cancel_requested), (JobState::Active, true), "state and cancel");
        ensure!(world.queue.cancel(&q(), &id("1")).await?, "asking again is fine");
        Ok(())
    }

    /// A job that succeeds although somebody asked to cancel it is completed.
    #[breaks_on(CancelWins)]
    async fn success_wins_over_a_cancel(world: &World) -> Checked {
        ends(world, done(), JobState::Completed).await
    }

    /// An attempt that fails after a cancel ends the job, cancelled.
    #[breaks_on(IgnoredCancel)]
    async fn a_failed_attempt_after_a_cancel_is_cancelled(world: &World) -> Checked {
        ends(world, failed(), JobState::Cancelled).await
    }

    /// A job that fails for good after a cancel is cancelled.
    #[breaks_on(IgnoredCancel)]
    async fn a_failure_for_good_after_a_cancel_is_cancelled(world: &World) -> Checked {
        ends(world, Outcome::Fail(json!("gone")), JobState::Cancelled).await
    }

    /// A job that snoozes after a cancel is cancelled.
    #[breaks_on(IgnoredCancel)]
    async fn a_snooze_after_a_cancel_is_cancelled(world: &World) -> Checked {
        ends(world, Outcome::Snooze(Duration::from_secs(1)), JobState::Cancelled).await
    }

    /// A job that is given back after a cancel is cancelled: nobody wants it to run again.
    #[breaks_on(IgnoredCancel)]
    async fn a_release_after_a_cancel_is_cancelled(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.queue.cancel(&q(), &id("1")).await?;
        world.jobs.release(&[claimed.claim]).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Cancelled, "its state");
        world.nothing_ready("the job is cancelled").await
    }

    /// A finished or missing job cannot be cancelled, and stays as it is.
    #[breaks_on(YesMan, MissingIsError)]
    async fn a_finished_job_is_not_cancelled(world: &World) -> Checked {
        ensure!(!world.queue.cancel(&q(), &id("none")).await?, "there is no such job");
        for state in [JobState::Completed, JobState::Failed, JobState::Cancelled] {
            let id = id(state.as_str());
            world.bring(&id, state).await?;
            ensure!(!world.queue.cancel(&q(), &id).await?, "a {state} job is finished");
            ensure_eq!(world.state_of(&id).await?, state, "its state");
        }
        Ok(())
    }

    /// A cancel that was asked for is over when an operator runs the job again.
    #[breaks_on(IgnoredCancel)]
    async fn a_cancel_does_not_outlive_the_job(world: &World) -> Checked {
        ends(world, failed(), JobState::Cancelled).await?;
        ensure!(world.queue.retry(&q(), &id("1")).await?, "it is finished");
        let claimed = world.take().await?;
        ensure_eq!(world.jobs.beat(std::slice::from_ref(&claimed.claim)).await?, vec![], "the answer of a beat");
        ensure_eq!(world.settle(&claimed, failed()).await?, JobState::Delayed, "a failed attempt of the new run");
        Ok(())
    }
}
