//! A caller's own ids.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    Enqueued, JobState, JobsQuery, NewJob,
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq},
        world::{World, id, job, job_in, q, queue, secs},
    },
};

/// A second job with the id of a job in this state.
async fn doubled(world: &World, state: JobState) -> Checked {
    world.bring(&id("1"), state).await?;
    let second = NewJob { data: json!("second"), ..job().id(id("1")) };
    let answers = world.queue.enqueue(&[second]).await?;
    ensure_eq!(answers, vec![Enqueued::Duplicate(id("1"))], "a second job with the id of a {state} one");
    let kept = world.list(JobsQuery::of(q())).await?;
    ensure_eq!(kept.len(), 1, "jobs of the queue");
    ensure_eq!((kept[0].state, &kept[0].data), (state, &json!({ "n": 1 })), "the first job");
    Ok(())
}

cases! {
    /// A job whose id a waiting job has is its duplicate.
    #[breaks_on(ForgetsIds, DuplicateOverwrites)]
    async fn a_waiting_job_holds_its_id(world: &World) -> Checked {
        doubled(world, JobState::Waiting).await
    }

    /// A job whose id a delayed job has is its duplicate.
    #[breaks_on(ForgetsIds, DuplicateOverwrites)]
    async fn a_delayed_job_holds_its_id(world: &World) -> Checked {
        doubled(world, JobState::Delayed).await
    }

    /// A job whose id a running job has is its duplicate.
    #[breaks_on(ForgetsIds, DuplicateOverwrites)]
    async fn an_active_job_holds_its_id(world: &World) -> Checked {
        doubled(world, JobState::Active).await
    }

    /// A job whose id a completed job has is its duplicate.
    #[breaks_on(ForgetsIds, DuplicateOverwrites)]
    async fn a_completed_job_holds_its_id(world: &World) -> Checked {
        doubled(world, JobState::Completed).await
    }

    /// A job whose id a failed job has is its duplicate.
    #[breaks_on(ForgetsIds, DuplicateOverwrites)]
    async fn a_failed_job_holds_its_id(world: &World) -> Checked {
        doubled(world, JobState::Failed).await
    }

    /// A job whose id a cancelled job has is its duplicate.
    #[breaks_on(ForgetsIds, DuplicateOverwrites)]
    async fn a_cancelled_job_holds_its_id(world: &World) -> Checked {
        doubled(world, JobState::Cancelled).await
    }

    /// Of two jobs with one id in a batch, the second is the duplicate.
    #[breaks_on(ForgetsIds)]
    async fn the_second_of_two_in_a_batch_is_the_duplicate(world: &World) -> Checked {
        let second = NewJob { data: json!("second"), ..job().id(id("1")) };
        let answers = world.queue.enqueue(&[job().id(id("1")), second, job().id(id("2"))]).await?;
        let wanted = vec![Enqueued::Created(id("1")), Enqueued::Duplicate(id("1")), Enqueued::Created(id("2"))];
        ensure_eq!(answers, wanted, "the answers");
        ensure_eq!(world.look(&id("1")).await?.data, json!({ "n": 1 }), "the data that was kept");
        ensure_eq!(world.counts().await?.waiting, 2, "jobs that were stored");
        Ok(())
    }

    /// An id belongs to its queue.
    #[breaks_on(IdsAcrossQueues)]
    async fn two_queues_may_use_one_id(world: &World) -> Checked {
        world.add(job_in("a").id(id("1"))).await?;
        world.add(job_in("b").id(id("1"))).await?;
        world.look_in(&queue("b"), &id("1")).await?;
        Ok(())
    }

    /// Ids are compared as they are written.
    #[breaks_on(OneIdForAll)]
    async fn ids_are_opaque(world: &World) -> Checked {
        for name in ["a", "A", " a", "a ", "%", "_", "7", "07", "é", "e\u{301}"] {
            world.add(job().id(id(name))).await?;
        }
        ensure_eq!(world.look(&id("A")).await?.id, id("A"), "the job found");
        ensure!(world.queue.job(&q(), &id("b")).await?.is_none(), "an id of nobody finds nobody");
        world.add(job()).await?;
        world.add(job()).await?;
        Ok(())
    }

    /// The id of a removed job is free again.
    #[breaks_on(IdsStayTaken)]
    async fn a_removed_job_frees_its_id(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        ensure!(world.queue.remove(&q(), &id("1")).await?, "it was there");
        world.add(job().id(id("1"))).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "the new job");
        Ok(())
    }

    /// Jobs without an id get time-ordered ones that are theirs alone.
    #[breaks_on(OneIdForAll)]
    async fn a_job_without_an_id_gets_its_own(world: &World) -> Checked {
        let mut ids = world.add_all(vec![job(); 50]).await?;
        world.advance(secs(1)).await?;
        ids.extend(world.add_all(vec![job(); 50]).await?);
        let texts: BTreeSet<&str> = ids.iter().map(|id| id.as_str()).collect();
        ensure_eq!(texts.len(), 100, "different ids");
        ensure!(ids[..50].iter().max() < ids[50..].iter().min(), "later ids are greater");
        Ok(())
    }

    /// However many processes enqueue one id at once, one of them stores the job.
    #[breaks_on(ForgetsIds)]
    async fn one_of_many_racing_enqueues_wins(world: &World) -> Checked {
        let second = world.second().await?;
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..8 {
            let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
            racing.spawn(async move { handle.queue.enqueue(&[job().id(id("1"))]).await });
        }
        let mut created = 0;
        while let Some(answer) = racing.join_next().await {
            let answers = answer.map_err(Failure::new)??;
            created += answers.iter().filter(|answer| answer.is_created()).count();
        }
        ensure_eq!(created, 1, "calls that stored the job");
        ensure_eq!(world.counts().await?.total(), 1, "jobs that were stored");
        Ok(())
    }
}
