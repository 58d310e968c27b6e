//! A queue that nobody claims from.

use crate::{
    JobState,
    conformance::{
        case::{cases, ensure, ensure_eq},
        world::{done, failed, id, job, q},
    },
};

cases! {
    /// Nobody claims from a paused queue, until it is resumed.
    #[breaks_on(ForgottenPause, IgnoredOperator)]
    async fn a_paused_queue_waits_for_its_resume(world: &World) -> Checked {
        ensure!(!world.queue.is_paused(&q()).await?, "it is not paused yet");
        world.add(job()).await?;
        world.queue.pause(&q()).await?;
        world.queue.pause(&q()).await?;
        ensure!(world.queue.is_paused(&q()).await?, "it is paused");
        world.add(job()).await?;
        world.nothing_ready("the queue is paused").await?;
        world.queue.resume(&q()).await?;
        ensure!(!world.queue.is_paused(&q()).await?, "it is resumed");
        ensure_eq!(world.claim(&q(), 5).await?.len(), 2, "jobs claimed");
        Ok(())
    }

    /// A pause holds in every process, and so does its end.
    #[breaks_on(LocalPause, ForgottenPause)]
    async fn a_pause_holds_in_every_process(world: &World) -> Checked {
        let second = world.second().await?;
        world.add(job()).await?;
        world.queue.pause(&q()).await?;
        ensure!(second.queue.is_paused(&q()).await?, "the other process knows");
        second.nothing_ready("the queue is paused by another process").await?;
        second.queue.resume(&q()).await?;
        ensure!(!world.queue.is_paused(&q()).await?, "the first process knows of the resume");
        world.take().await?;
        Ok(())
    }

    /// A pause outlives every process.
    #[breaks_on(LocalPause, Amnesia)]
    #[needs(Reopen)]
    async fn a_pause_outlives_a_restart(world: &World) -> Checked {
        world.add(job()).await?;
        world.queue.pause(&q()).await?;
        let after = world.reopen().await?;
        ensure!(after.queue.is_paused(&q()).await?, "it is still paused");
        after.nothing_ready("the queue is paused since before the restart").await?;
        after.queue.resume(&q()).await?;
        after.take().await?;
        Ok(())
    }

    /// Running jobs go on, and settle.
    #[breaks_on(PauseStopsRunning)]
    async fn running_jobs_go_on(world: &World) -> Checked {
        world.add_all(vec![job().id(id("1")), job().id(id("2"))]).await?;
        let claimed = world.claim(&q(), 2).await?;
        world.queue.pause(&q()).await?;
        ensure_eq!(world.jobs.beat(&[claimed[0].claim.clone()]).await?, vec![], "the answer of a beat");
        ensure_eq!(world.settle(&claimed[0], done()).await?, JobState::Completed, "a settle while paused");
        ensure_eq!(world.settle(&claimed[1], failed()).await?, JobState::Delayed, "another");
        Ok(())
    }

    /// The jobs of a paused queue stay waiting, and are counted as paused too.
    #[breaks_on(WrongCounts, ForgottenPause)]
    async fn waiting_jobs_are_counted_as_paused_too(world: &World) -> Checked {
        world.add_all(vec![job().id(id("1")), job(), job().delay(std::time::Duration::from_secs(60))]).await?;
        world.queue.pause(&q()).await?;
        let counts = world.counts().await?;
        ensure_eq!((counts.waiting, counts.paused, counts.delayed), (2, 2, 1), "waiting, paused, delayed");
        ensure_eq!(counts.total(), 3, "all of them");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "the state of one");
        world.queue.resume(&q()).await?;
        ensure_eq!(world.counts().await?.paused, 0, "paused after a resume");
        Ok(())
    }

    /// A queue begins with its pause.
    #[breaks_on(ForgottenPause)]
    async fn a_queue_may_begin_with_its_pause(world: &World) -> Checked {
        world.queue.pause(&q()).await?;
        let queues = world.queue.queues().await?;
        ensure_eq!(queues.len(), 1, "queues");
        ensure!(queues[0].name == q() && queues[0].paused, "the queue is paused: {:?}", queues[0]);
        world.add(job()).await?;
        world.nothing_ready("the queue was paused before its first job").await
    }
}
