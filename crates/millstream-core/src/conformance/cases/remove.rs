//! Jobs that go: by an operator's hand, with their settle, by a sweep.

use crate::{
    JobId, JobState, JobsQuery, NewJob, Removal,
    conformance::{
        case::{Checked, cases, ensure, ensure_eq},
        world::{World, again, done, id, job, numbered, q, secs},
    },
};

/// The ids that are left, oldest first.
async fn left(world: &World) -> Checked<Vec<JobId>> {
    let mut jobs = world.list(JobsQuery::of(q())).await?;
    jobs.reverse();
    Ok(jobs.into_iter().map(|job| job.id).collect())
}

/// Completes these jobs one after another, a second apart.
async fn complete(world: &World, jobs: Vec<NewJob>) -> Checked {
    world.add_all(jobs).await?;
    loop {
        let claimed = world.claim(&q(), 1).await?;
        let Some(one) = claimed.first() else { return Ok(()) };
        world.settle(one, done()).await?;
        world.advance(secs(1)).await?;
    }
}

fn keeping(count: usize, removal: Removal) -> Vec<NewJob> {
    numbered(count).into_iter().map(|job| job.remove_on_complete(removal)).collect()
}

cases! {
    /// A job is removed in whatever state, and nothing of it is left.
    #[breaks_on(IgnoredOperator)]
    async fn a_job_is_removed_in_whatever_state(world: &World) -> Checked {
        for state in JobState::ALL {
            let id = id(state.as_str());
            world.bring(&id, state).await?;
            ensure!(world.queue.remove(&q(), &id).await?, "a {state} job can be removed");
            ensure_eq!(world.queue.job(&q(), &id).await?, None, "the {state} job that was removed");
        }
        ensure_eq!(world.counts().await?.total(), 0, "jobs left");
        world.advance(secs(3600)).await?;
        world.nothing_ready("every job was removed").await
    }

    /// What does not exist is not removed.
    #[breaks_on(YesMan, MissingIsError)]
    async fn a_missing_job_is_not_removed(world: &World) -> Checked {
        ensure!(!world.queue.remove(&q(), &id("1")).await?, "there is no such job");
        world.add(job().id(id("1"))).await?;
        ensure!(world.queue.remove(&q(), &id("1")).await?, "there is one");
        ensure!(!world.queue.remove(&q(), &id("1")).await?, "it is gone");
        Ok(())
    }

    /// A job that is to be removed once completed goes with its settle, and its id is free.
    #[breaks_on(KeepsFinished)]
    async fn a_completed_job_goes_at_once(world: &World) -> Checked {
        let jobs = vec![job().id(id("1")).remove_on_complete(Removal::AtOnce); 1];
        world.add_all(jobs.clone()).await?;
        ensure_eq!(world.settle(&world.take().await?, done()).await?, JobState::Completed, "the verdict");
        ensure_eq!(world.queue.job(&q(), &id("1")).await?, None, "the job");
        ensure_eq!(world.counts().await?.total(), 0, "jobs left");
        world.add_all(jobs).await?;
        Ok(())
    }

    /// A job that is to be removed once failed goes when its attempts are used up, or when it is cancelled; not
    /// between attempts.
    #[breaks_on(KeepsFinished)]
    async fn a_failed_or_cancelled_job_goes_at_once(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(2).remove_on_fail(Removal::AtOnce)).await?;
        world.settle(&world.take().await?, again()).await?;
        world.look(&id("1")).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(world.settle(&world.take().await?, again()).await?, JobState::Failed, "the verdict");
        ensure_eq!(world.queue.job(&q(), &id("1")).await?, None, "the failed job");
        world.add(job().id(id("2")).remove_on_fail(Removal::AtOnce)).await?;
        ensure!(world.queue.cancel(&q(), &id("2")).await?, "it waits");
        ensure_eq!(world.queue.job(&q(), &id("2")).await?, None, "the cancelled job");
        ensure_eq!(world.counts().await?.total(), 0, "jobs left");
        Ok(())
    }

    /// What becomes of a completed job says nothing about a failed one.
    #[breaks_on(NeverEnds)]
    async fn each_end_has_its_own_removal(world: &World) -> Checked {
        world.add(job().id(id("1")).remove_on_complete(Removal::AtOnce)).await?;
        world.settle(&world.take().await?, crate::Outcome::Fail("gone".into())).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Failed, "the failed job");
        Ok(())
    }

    /// Of finished jobs that are kept by number, a sweep leaves the newest.
    #[breaks_on(NeverSweeps, SweepsAll, KeepsFinished)]
    async fn a_sweep_keeps_the_newest(world: &World) -> Checked {
        complete(world, keeping(6, Removal::Keep { count: Some(2), age: None })).await?;
        world.jobs.sweep().await?;
        ensure_eq!(left(world).await?, ["4", "5"].map(id), "jobs left");
        ensure_eq!(world.counts().await?.completed, 2, "their count");
        ensure_eq!(world.jobs.sweep().await?, 0, "rows of a second sweep");
        Ok(())
    }

    /// Finished jobs that are kept for a time go when it is over.
    #[breaks_on(NeverSweeps, SweepsAll, KeepsFinished)]
    #[needs(Calm)]
    async fn a_sweep_removes_what_is_too_old(world: &World) -> Checked {
        complete(world, keeping(3, Removal::Keep { count: None, age: Some(secs(60)) })).await?;
        ensure_eq!(world.jobs.sweep().await?, 0, "rows of an early sweep");
        world.advance(secs(58)).await?;
        ensure_eq!(world.jobs.sweep().await?, 1, "rows of a sweep");
        ensure_eq!(left(world).await?, ["1", "2"].map(id), "jobs left");
        world.advance(secs(60)).await?;
        world.jobs.sweep().await?;
        ensure_eq!(world.counts().await?.total(), 0, "jobs left at the end");
        Ok(())
    }

    /// Jobs that nobody asked to remove stay, as do those that are not finished.
    #[breaks_on(SweepsAll)]
    async fn a_sweep_leaves_the_rest(world: &World) -> Checked {
        complete(world, numbered(2)).await?;
        let keep = Removal::Keep { count: Some(0), age: Some(secs(1)) };
        world.add(job().id(id("waiting")).remove_on_complete(keep).remove_on_fail(keep)).await?;
        world.advance(secs(100_000)).await?;
        ensure_eq!(world.jobs.sweep().await?, 0, "rows of a sweep");
        ensure_eq!(left(world).await?, ["0", "1", "waiting"].map(id), "jobs left");
        Ok(())
    }
}
