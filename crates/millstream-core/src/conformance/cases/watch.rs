//! What happens in a queue, as people see it.

use std::pin::Pin;

use futures_core::Stream;
use serde_json::json;

use crate::{
    BoxStream, JobId, Outcome, Progress, QueueEvent, QueueEventKind as Kind,
    conformance::{
        case::{Checked, Failure, cases, ensure_eq},
        world::{LEASE, World, done, failed, id, job, job_in, q, secs},
    },
};

/// The next item of a stream, within patience.
pub(super) async fn next<T: Send>(world: &World, stream: &mut BoxStream<T>, what: &str) -> Checked<T> {
    let item = world.within(what, std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx))).await?;
    item.ok_or_else(|| Failure::new(format_args!("the stream ended before {what}")))
}

/// The next events are of these kinds, each about this job.
async fn sees(world: &World, watch: &mut BoxStream<QueueEvent>, kinds: &[Kind], job: Option<&JobId>) -> Checked {
    for kind in kinds {
        let event = next(world, watch, &format!("an event of kind {kind:?}")).await?;
        ensure_eq!((event.kind, event.job.as_ref()), (*kind, job), "the event");
        ensure_eq!(event.queue, q(), "its queue");
    }
    Ok(())
}

cases! {
    /// A watcher sees the life of a job that other processes work, in order, with attempt and time.
    #[breaks_on(DeafWatch, MislabelledWatch)]
    #[needs(Signals)]
    async fn a_watcher_sees_a_jobs_life(world: &World) -> Checked {
        let (other, one) = (world.second().await?, id("1"));
        let mut watch = world.queue.watch(&q()).await?;
        other.add(job().id(one.clone())).await?;
        sees(world, &mut watch, &[Kind::Waiting], Some(&one)).await?;
        let claimed = other.take().await?;
        let event = next(world, &mut watch, "a claim").await?;
        ensure_eq!((event.kind, event.attempt), (Kind::Active, Some(1)), "the claim");
        ensure_eq!(event.name.as_ref().map(|name| name.as_str()), Some("work"), "the job's name");
        ensure_eq!(event.at, world.now().await?, "its time");
        other.jobs.progress(&[Progress { claim: claimed.claim.clone(), value: json!(50) }]).await?;
        let event = next(world, &mut watch, "progress").await?;
        ensure_eq!((event.kind, event.data), (Kind::Progress, Some(json!(50))), "the progress");
        other.settle(&claimed, done()).await?;
        let event = next(world, &mut watch, "the end").await?;
        ensure_eq!((event.kind, event.data), (Kind::Completed, Some(json!("done"))), "the end");
        Ok(())
    }

    /// A watcher sees each way a job can wait, come back and end.
    #[breaks_on(DeafWatch, MislabelledWatch)]
    #[needs(Signals)]
    async fn a_watcher_sees_every_turn(world: &World) -> Checked {
        let (other, one) = (world.second().await?, id("1"));
        let mut watch = world.queue.watch(&q()).await?;
        other.add(job().id(one.clone()).attempts(9).delay(secs(5))).await?;
        sees(world, &mut watch, &[Kind::Delayed], Some(&one)).await?;
        world.advance(secs(5)).await?;
        other.jobs.promote_due().await?;
        other.settle(&other.take().await?, failed()).await?;
        sees(world, &mut watch, &[Kind::Waiting, Kind::Active, Kind::Delayed], Some(&one)).await?;
        other.queue.promote(&q(), &one).await?;
        let claimed = other.take().await?;
        other.jobs.release(&[claimed.claim]).await?;
        sees(world, &mut watch, &[Kind::Waiting, Kind::Active, Kind::Waiting], Some(&one)).await?;
        other.settle(&other.take().await?, Outcome::Fail(json!("gone"))).await?;
        other.queue.retry(&q(), &one).await?;
        sees(world, &mut watch, &[Kind::Active, Kind::Failed, Kind::Waiting], Some(&one)).await?;
        other.queue.cancel(&q(), &one).await?;
        other.queue.remove(&q(), &one).await?;
        sees(world, &mut watch, &[Kind::Cancelled, Kind::Removed], Some(&one)).await
    }

    /// A watcher sees that a job's holder vanished, and that the job is ready again.
    #[breaks_on(DeafWatch, MislabelledWatch)]
    #[needs(Signals)]
    async fn a_watcher_sees_a_stalled_job(world: &World) -> Checked {
        let one = id("1");
        world.add(job().id(one.clone())).await?;
        world.take().await?;
        let mut watch = world.queue.watch(&q()).await?;
        world.advance(LEASE + secs(1)).await?;
        world.second().await?.jobs.rescue().await?;
        sees(world, &mut watch, &[Kind::Stalled], Some(&one)).await
    }

    /// A watcher sees what happens to the queue itself, and nothing of other queues.
    #[breaks_on(DeafWatch, MislabelledWatch)]
    #[needs(Signals)]
    async fn a_watcher_sees_its_queue_only(world: &World) -> Checked {
        let other = world.second().await?;
        let mut watch = world.queue.watch(&q()).await?;
        other.add(job_in("other")).await?;
        other.queue.pause(&crate::conformance::world::queue("other")).await?;
        other.queue.pause(&q()).await?;
        other.queue.resume(&q()).await?;
        sees(world, &mut watch, &[Kind::Paused, Kind::Resumed], None).await
    }

    /// A watcher sees what happens from when its call returned.
    #[breaks_on(DeafWatch)]
    #[needs(Signals)]
    async fn a_watcher_sees_nothing_of_before(world: &World) -> Checked {
        world.add(job().id(id("before"))).await?;
        let mut watch = world.queue.watch(&q()).await?;
        world.add(job().id(id("after"))).await?;
        sees(world, &mut watch, &[Kind::Waiting], Some(&id("after"))).await
    }
}
