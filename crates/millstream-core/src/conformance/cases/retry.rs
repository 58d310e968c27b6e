//! Attempts: how they are counted, and how long lies between them.

use std::time::Duration;

use serde_json::json;

use crate::{
    Backoff, JobState, Outcome,
    conformance::{
        case::{cases, ensure, ensure_eq},
        world::{LEASE, again, done, failed, id, job, q, secs},
    },
};

cases! {
    /// Attempts are counted through every way a job can come back: what failed or expired counts, what was given
    /// back or snoozed does not.
    #[breaks_on(UncountedAttempt, BurnedAttempt)]
    async fn attempts_are_counted_through_every_return(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(9)).await?;
        let claimed = world.take().await?;
        ensure_eq!(claimed.attempt, 1, "the first");
        world.jobs.release(&[claimed.claim]).await?;
        let claimed = world.take().await?;
        ensure_eq!(claimed.attempt, 1, "after a release");
        world.settle(&claimed, Outcome::Snooze(Duration::ZERO)).await?;
        world.jobs.promote_due().await?;
        let claimed = world.take().await?;
        ensure_eq!(claimed.attempt, 1, "after a snooze");
        world.settle(&claimed, again()).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(world.take().await?.attempt, 2, "after a failure");
        world.advance(LEASE + secs(1)).await?;
        world.jobs.rescue().await?;
        let claimed = world.take().await?;
        ensure_eq!(claimed.attempt, 3, "after a rescue");
        world.settle(&claimed, done()).await?;
        world.queue.retry(&q(), &id("1")).await?;
        ensure_eq!(world.take().await?.attempt, 4, "after an operator's retry");
        ensure_eq!(world.look(&id("1")).await?.attempt, 4, "the job's own count");
        Ok(())
    }

    /// A failed job does not run before its backoff has passed, and runs then.
    #[breaks_on(EarlyDelayed, NeverDue)]
    async fn the_backoff_is_kept(world: &World) -> Checked {
        world.add(job().backoff(Backoff::fixed(secs(10)))).await?;
        world.settle(&world.take().await?, failed()).await?;
        world.advance(secs(9)).await?;
        world.nothing_ready("the backoff has not passed").await?;
        world.advance(secs(1)).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(world.take().await?.attempt, 2, "the attempt after the backoff");
        Ok(())
    }

    /// An exponential backoff grows with the attempts, up to its cap.
    #[breaks_on(UncountedAttempt, EarlyDelayed)]
    async fn an_exponential_backoff_grows(world: &World) -> Checked {
        let backoff = Backoff::Exponential { first: secs(10), cap: secs(30), jitter: 0.0 };
        world.add(job().id(id("1")).attempts(5).backoff(backoff)).await?;
        for wait in [10, 20, 30, 30] {
            world.settle(&world.take().await?, failed()).await?;
            let due = world.look(&id("1")).await?.run_at;
            ensure_eq!(due, world.now().await? + secs(wait), "when it runs again");
            world.advance(secs(wait)).await?;
            world.jobs.promote_due().await?;
        }
        Ok(())
    }

    /// A wait chosen by the handler goes before the backoff.
    #[breaks_on(IgnoresAfter, EarlyDelayed)]
    async fn the_handlers_own_wait_goes_before_the_backoff(world: &World) -> Checked {
        world.add(job().id(id("1")).backoff(Backoff::fixed(secs(5)))).await?;
        let outcome = Outcome::Retry { error: json!("later"), after: Some(secs(60)) };
        world.settle(&world.take().await?, outcome).await?;
        ensure_eq!(world.look(&id("1")).await?.run_at, world.now().await? + secs(60), "when it runs again");
        world.advance(secs(59)).await?;
        world.nothing_ready("the handler's wait has not passed").await?;
        world.advance(secs(1)).await?;
        world.jobs.promote_due().await?;
        world.settle(&world.take().await?, again()).await?;
        world.jobs.promote_due().await?;
        world.take().await?;
        Ok(())
    }

    /// An operator runs a finished job again, whatever its end was, and it has at least one more attempt.
    #[breaks_on(IgnoredOperator)]
    async fn an_operator_runs_a_finished_job_again(world: &World) -> Checked {
        for state in [JobState::Completed, JobState::Failed, JobState::Cancelled] {
            let id = id(state.as_str());
            world.bring(&id, state).await?;
            ensure!(world.queue.retry(&q(), &id).await?, "a {state} job can be run again");
            let job = world.look(&id).await?;
            ensure_eq!((job.state, job.finished_at), (JobState::Waiting, None), "the job that was {state}");
            let claimed = world.take().await?;
            ensure_eq!(claimed.attempt, 2, "its attempt");
            world.settle(&claimed, done()).await?;
            ensure_eq!(world.state_of(&id).await?, JobState::Completed, "its new end");
        }
        Ok(())
    }

    /// A job without attempts left has one more after an operator's retry, and fails after it.
    #[breaks_on(IgnoredOperator)]
    async fn an_exhausted_job_has_one_more_attempt(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(1)).await?;
        ensure_eq!(world.settle(&world.take().await?, failed()).await?, JobState::Failed, "the first end");
        ensure!(world.queue.retry(&q(), &id("1")).await?, "it can be run again");
        let claimed = world.take().await?;
        ensure_eq!(claimed.attempt, 2, "its attempt");
        ensure!(claimed.attempts >= 2, "attempt 2 of {}", claimed.attempts);
        ensure_eq!(world.settle(&claimed, failed()).await?, JobState::Failed, "the second end");
        Ok(())
    }

    /// One life of a job is told from another: it lasts through every return to the queue, and ends when an operator
    /// runs the finished job again, or when its id is used anew.
    #[breaks_on(OneLife, RestlessLife)]
    async fn a_life_lasts_until_it_is_begun_anew(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(9)).await?;
        let claimed = world.take().await?;
        let life = claimed.life.clone();
        world.jobs.release(&[claimed.claim]).await?;
        let claimed = world.take().await?;
        ensure_eq!(claimed.life, life, "the life after a release");
        world.settle(&claimed, again()).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(world.take().await?.life, life, "the life after a failure");
        world.advance(LEASE + secs(1)).await?;
        world.jobs.rescue().await?;
        let claimed = world.take().await?;
        ensure_eq!(claimed.life, life, "the life after a rescue");
        world.settle(&claimed, done()).await?;
        world.queue.retry(&q(), &id("1")).await?;
        let second = world.take().await?.life;
        ensure!(second != life, "an operator's retry begins a new life");
        world.queue.remove(&q(), &id("1")).await?;
        world.add(job().id(id("1"))).await?;
        let third = world.take().await?.life;
        ensure!(third != life && third != second, "a new job of the same id has a life of its own");
        Ok(())
    }

    /// What is not finished cannot be run again.
    #[breaks_on(YesMan)]
    async fn an_unfinished_job_is_not_run_again(world: &World) -> Checked {
        ensure!(!world.queue.retry(&q(), &id("1")).await?, "there is no such job");
        for state in [JobState::Active, JobState::Waiting, JobState::Delayed] {
            let id = id(state.as_str());
            world.bring(&id, state).await?;
            ensure!(!world.queue.retry(&q(), &id).await?, "a {state} job is not finished");
            ensure_eq!(world.state_of(&id).await?, state, "its state");
        }
        Ok(())
    }
}
