//! The end of a store.

use crate::{
    Error, EventQuery, JobsQuery, Result, StartFrom, Want,
    conformance::{
        case::{Checked, Failure, cases, ensure_eq},
        world::{id, job, pattern, q},
    },
};

use super::watch::next;

fn closed<T>(what: &str, answer: Result<T>) -> Checked {
    match answer {
        Err(Error::Closed { .. }) => Ok(()),
        Err(other) => Err(Failure::new(format_args!("{what} of a closed store: {other}"))),
        Ok(_) => Err(Failure::new(format_args!("{what} of a closed store works"))),
    }
}

cases! {
    /// A closed store answers that it is closed, through every seam.
    #[breaks_on(OpenAfterClose)]
    async fn a_closed_store_says_so(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claim = world.take().await?.claim;
        world.close().await?;
        closed("enqueue", world.queue.enqueue(&[job()]).await)?;
        closed("job", world.queue.job(&q(), &id("1")).await)?;
        closed("jobs", world.queue.jobs(&JobsQuery::of(q())).await)?;
        closed("counts", world.queue.counts(&q()).await)?;
        closed("queues", world.queue.queues().await)?;
        closed("pause", world.queue.pause(&q()).await)?;
        closed("cancel", world.queue.cancel(&q(), &id("1")).await)?;
        closed("schedules", world.queue.schedules(None).await)?;
        closed("watch", world.queue.watch(&q()).await)?;
        closed("claim", world.jobs.claim(&[Want::new(q(), 1)]).await)?;
        closed("beat", world.jobs.beat(std::slice::from_ref(&claim)).await)?;
        closed("release", world.jobs.release(&[claim]).await)?;
        closed("rescue", world.jobs.rescue().await)?;
        closed("sweep", world.jobs.sweep().await)?;
        closed("query", world.events.query(&EventQuery::of(pattern("*"))).await)?;
        closed("subscribe", world.events.subscribe(&pattern("*"), StartFrom::Start).await)?;
        closed("head", world.events.head().await)?;
        closed("get", world.state.get("k").await)
    }

    /// Who follows the log or watches a queue is told: the stream ends, with an error or without.
    #[breaks_on(OpenAfterClose)]
    async fn streams_end_with_their_store(world: &World) -> Checked {
        let mut log = world.events.subscribe(&pattern("*"), StartFrom::Start).await?;
        let mut watch = world.queue.watch(&q()).await?;
        world.append("s", "e").await?;
        next(world, &mut log, "an event").await??;
        world.close().await?;
        let end = std::future::poll_fn(|cx| log.as_mut().poll_next(cx));
        match world.within("the end of a subscription", end).await? {
            None | Some(Err(Error::Closed { .. })) => {}
            Some(other) => return Err(Failure::new(format_args!("a subscription to a closed store got {other:?}"))),
        }
        let end = std::future::poll_fn(|cx| watch.as_mut().poll_next(cx));
        ensure_eq!(world.within("the end of a watch", end).await?, None, "what a watcher of a closed store sees");
        Ok(())
    }

    /// Closing again is fine, through whatever seam.
    #[breaks_on(FussyClose)]
    async fn closing_again_is_fine(world: &World) -> Checked {
        world.queue.close().await?;
        world.queue.close().await?;
        world.events.close().await?;
        world.state.close().await?;
        world.jobs.close().await?;
        Ok(())
    }
}
