//! By priority, then in the order in which jobs became ready.

use crate::{
    NewJob,
    conformance::{
        case::{cases, ensure_eq},
        world::{again, id, ids, job, numbered, q, secs},
    },
};

fn prioritised(priorities: &[i32]) -> Vec<NewJob> {
    priorities.iter().enumerate().map(|(n, &priority)| job().id(id(&n.to_string())).priority(priority)).collect()
}

cases! {
    /// Smaller priorities run first.
    #[breaks_on(IgnoresPriority, ReversedClaims)]
    async fn smaller_priorities_run_first(world: &World) -> Checked {
        world.add_all(prioritised(&[5, 0, i32::MAX, -1, i32::MIN])).await?;
        ensure_eq!(ids(&world.claim(&q(), 10).await?), ["4", "3", "1", "0", "2"], "the order of a claim");
        Ok(())
    }

    /// The smallest priority is taken when there is room for one only.
    #[breaks_on(IgnoresPriority)]
    async fn the_smallest_priority_is_taken_first(world: &World) -> Checked {
        world.add_all(prioritised(&[3, 1, 2])).await?;
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(world.take().await?.claim.job);
        }
        ensure_eq!(order, ["1", "2", "0"].map(id), "the order of three claims");
        Ok(())
    }

    /// Equal priorities run in the order the store took them in, within a batch and over batches.
    #[breaks_on(LifoBatch, ReversedClaims)]
    async fn equal_priorities_run_as_they_came(world: &World) -> Checked {
        let jobs = numbered(12);
        world.add_all(jobs[..5].to_vec()).await?;
        world.add(jobs[5].clone()).await?;
        world.add_all(jobs[6..].to_vec()).await?;
        let claimed = world.claim(&q(), 4).await?;
        ensure_eq!(ids(&claimed), ["0", "1", "2", "3"], "the first claim");
        let claimed = world.claim(&q(), 10).await?;
        ensure_eq!(ids(&claimed), ["4", "5", "6", "7", "8", "9", "10", "11"], "the second");
        Ok(())
    }

    /// A job that was given back became ready anew: it runs after those that were ready before.
    #[breaks_on(ReleaseJumpsQueue)]
    #[needs(ReadyOrder)]
    async fn a_released_job_runs_after_those_that_were_ready(world: &World) -> Checked {
        world.add_all(numbered(3)).await?;
        let first = world.take().await?;
        world.jobs.release(&[first.claim]).await?;
        ensure_eq!(ids(&world.claim(&q(), 5).await?), ["1", "2", "0"], "the order after a release");
        Ok(())
    }

    /// A job that failed an attempt runs after those that were ready before it was ready again.
    #[breaks_on(ReversedClaims)]
    #[needs(ReadyOrder)]
    async fn a_retried_job_runs_after_those_that_were_ready(world: &World) -> Checked {
        world.add_all(numbered(3)).await?;
        let first = world.take().await?;
        world.settle(&first, again()).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(ids(&world.claim(&q(), 5).await?), ["1", "2", "0"], "the order after a retry");
        Ok(())
    }

    /// Delayed jobs become ready in the order of their times, behind those that were ready before.
    #[breaks_on(ReversedClaims)]
    #[needs(ReadyOrder)]
    async fn delayed_jobs_run_in_the_order_of_their_times(world: &World) -> Checked {
        world.add(job().id(id("thirty")).delay(secs(30))).await?;
        world.add(job().id(id("ten")).delay(secs(10))).await?;
        world.add(job().id(id("twenty")).delay(secs(20))).await?;
        world.add(job().id(id("now"))).await?;
        world.advance(secs(60)).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(ids(&world.claim(&q(), 5).await?), ["now", "ten", "twenty", "thirty"], "the order of a claim");
        Ok(())
    }

    /// A priority holds for a job that comes back, too.
    #[breaks_on(IgnoresPriority)]
    async fn a_priority_holds_when_the_job_comes_back(world: &World) -> Checked {
        world.add_all(prioritised(&[0, -1])).await?;
        let first = world.take().await?;
        ensure_eq!(first.claim.job, id("1"), "the first job");
        world.jobs.release(&[first.claim]).await?;
        ensure_eq!(ids(&world.claim(&q(), 5).await?), ["1", "0"], "the order after a release");
        Ok(())
    }
}
