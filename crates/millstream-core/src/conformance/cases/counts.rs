//! How many jobs are in each state, at every moment.

use std::time::Duration;

use serde_json::json;

use crate::{
    JobCounts, JobsQuery, Outcome, Removal,
    conformance::{
        case::{Checked, cases, ensure_eq},
        world::{LEASE, World, again, done, failed, id, job, job_in, numbered, q, queue, secs},
    },
};

/// The counts are those of the listing.
async fn agree(world: &World, after: &str) -> Checked {
    let mut listed = JobCounts::default();
    for job in world.list(JobsQuery::of(q())).await? {
        *listed.of_mut(job.state) += 1;
    }
    if world.queue.is_paused(&q()).await? {
        listed.paused = listed.waiting;
    }
    ensure_eq!(world.counts().await?, listed, "the counts after {after}");
    let queues = world.queue.queues().await?;
    let info = queues.iter().find(|info| info.name == q()).map(|info| info.counts);
    ensure_eq!(info.unwrap_or_default(), listed, "the counts among all queues after {after}");
    Ok(())
}

cases! {
    /// The counts agree with the listing after every kind of move.
    #[breaks_on(WrongCounts)]
    async fn counts_agree_with_the_listing_after_every_move(world: &World) -> Checked {
        agree(world, "nothing").await?;
        world.add_all(numbered(8)).await?;
        world.add(job().id(id("delayed")).delay(secs(60))).await?;
        world.queue.enqueue(&[job().id(id("0"))]).await?;
        agree(world, "enqueues").await?;
        let claimed = world.claim(&q(), 7).await?;
        agree(world, "a claim").await?;
        let outcomes = [done(), failed(), Outcome::Fail(json!(1)), Outcome::Cancel(json!(1)), Outcome::Snooze(secs(9))];
        for (one, outcome) in claimed.iter().zip(outcomes) {
            let what = format!("{outcome:?}");
            world.settle(one, outcome).await?;
            agree(world, &what).await?;
        }
        world.jobs.release(&[claimed[5].claim.clone()]).await?;
        agree(world, "a release").await?;
        world.queue.cancel(&q(), &id("6")).await?;
        world.queue.cancel(&q(), &id("7")).await?;
        agree(world, "cancels").await?;
        world.advance(LEASE + secs(1)).await?;
        world.jobs.rescue().await?;
        agree(world, "a rescue").await?;
        world.jobs.promote_due().await?;
        agree(world, "promotions").await?;
        world.queue.promote(&q(), &id("delayed")).await?;
        agree(world, "an operator's promotion").await?;
        world.queue.pause(&q()).await?;
        agree(world, "a pause").await?;
        world.queue.retry(&q(), &id("2")).await?;
        agree(world, "an operator's retry").await?;
        world.queue.resume(&q()).await?;
        world.queue.remove(&q(), &id("0")).await?;
        agree(world, "a removal").await
    }

    /// The counts agree with the listing after jobs went by themselves.
    #[breaks_on(WrongCounts)]
    async fn counts_agree_after_jobs_went(world: &World) -> Checked {
        let keep = Removal::Keep { count: Some(1), age: None };
        world.add_all(numbered(4).into_iter().map(|job| job.remove_on_complete(keep)).collect()).await?;
        world.add(job().attempts(1).remove_on_fail(Removal::AtOnce)).await?;
        for claimed in world.claim(&q(), 4).await? {
            world.settle(&claimed, done()).await?;
        }
        world.settle(&world.take().await?, again()).await?;
        agree(world, "a job that went at once").await?;
        world.jobs.sweep().await?;
        agree(world, "a sweep").await?;
        ensure_eq!(world.counts().await?.total(), 1, "jobs left");
        Ok(())
    }

    /// Counts are zero for a queue that does not exist.
    #[breaks_on(MissingIsError)]
    async fn a_missing_queue_counts_zero(world: &World) -> Checked {
        ensure_eq!(world.counts().await?, JobCounts::default(), "the counts of no queue");
        ensure_eq!(world.queue.queues().await?, vec![], "queues");
        Ok(())
    }

    /// Queues are listed by name, each with its own counts.
    #[breaks_on(ReversedListing, WrongCounts)]
    async fn queues_are_listed_by_name(world: &World) -> Checked {
        world.add_all(vec![job_in("b"), job_in("c"), job_in("a"), job_in("c")]).await?;
        let found: Vec<_> =
            world.queue.queues().await?.into_iter().map(|info| (info.name, info.counts.total())).collect();
        ensure_eq!(found, vec![(queue("a"), 1), (queue("b"), 1), (queue("c"), 2)], "queues and jobs");
        Ok(())
    }

    /// A queue is not forgotten with its last job.
    #[breaks_on(LostJob)]
    async fn an_empty_queue_is_still_listed(world: &World) -> Checked {
        world.add(job().remove_on_complete(Removal::AtOnce)).await?;
        world.settle(&world.take().await?, done()).await?;
        world.advance(Duration::from_secs(86_400)).await?;
        world.jobs.sweep().await?;
        ensure_eq!(world.queue.queues().await?.len(), 1, "queues");
        Ok(())
    }
}
