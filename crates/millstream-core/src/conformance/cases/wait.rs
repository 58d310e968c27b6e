//! Wake-ups: hints that must not be lost where signals are sent at all.

use std::{pin::pin, task::Poll};

use crate::{
    JobStore, QueueName, Signals, Wake,
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq},
        world::{Handle, World, id, job, q, secs},
    },
};

/// Polls a wait once, so that it is registered; does something; then awaits the wake-up of this kind. A wake-up of
/// the other kind is a hint too many, which is fine, and is waited past.
async fn wakes<F>(world: &World, wanted: Wake, what: &str, doing: F) -> Checked
where
    F: AsyncFnOnce(Handle) -> Checked,
{
    let other = world.second().await?;
    let queues: Vec<QueueName> = vec![q()];
    let mut doing = Some(doing);
    let patience = format!("the wake-up for {what}");
    // Hints may come early: whatever woke the first waits is looked at, and the next is registered before the deed.
    let mut waiting = pin!(world.jobs.wait(&queues));
    let mut early = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
    for _ in 0..8 {
        if early.is_pending() {
            break;
        }
        waiting.set(world.jobs.wait(&queues));
        early = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
    }
    let doing = doing.take().ok_or_else(|| Failure::new("unreachable"))?;
    doing(other).await?;
    let seen = world.within(&patience, waiting).await?;
    if seen != wanted {
        world.within(&patience, until(&*world.jobs, &queues, wanted)).await?;
    }
    Ok(())
}

async fn until(jobs: &dyn JobStore, queues: &[QueueName], wanted: Wake) {
    while jobs.wait(queues).await != wanted {}
}

cases! {
    /// A new job wakes whoever waits for its queue, in whatever process.
    #[breaks_on(LostWakeUp)]
    #[needs(Signals)]
    async fn a_new_job_wakes_the_waiting(world: &World) -> Checked {
        wakes(world, Wake::Work, "a new job", async |other: Handle| other.add(job()).await.map(drop)).await
    }

    /// A delayed job wakes them too: there may be an earlier due time.
    #[breaks_on(LostWakeUp)]
    #[needs(Signals)]
    async fn an_earlier_due_time_wakes_the_waiting(world: &World) -> Checked {
        world.add(job().delay(secs(600))).await?;
        wakes(world, Wake::Work, "an earlier due time", async |other: Handle| {
            other.add(job().delay(secs(60))).await.map(drop)
        })
        .await
    }

    /// A job that was given back wakes them.
    #[breaks_on(LostWakeUp)]
    #[needs(Signals)]
    async fn a_released_job_wakes_the_waiting(world: &World) -> Checked {
        world.add(job()).await?;
        let claim = world.take().await?.claim;
        wakes(world, Wake::Work, "a released job", async |other: Handle| Ok(other.jobs.release(&[claim]).await?)).await
    }

    /// A resumed queue wakes them.
    #[breaks_on(LostWakeUp)]
    #[needs(Signals)]
    async fn a_resume_wakes_the_waiting(world: &World) -> Checked {
        world.add(job()).await?;
        world.queue.pause(&q()).await?;
        wakes(world, Wake::Work, "a resume", async |other: Handle| Ok(other.queue.resume(&q()).await?)).await
    }

    /// An operator's retry and promotion wake them.
    #[breaks_on(LostWakeUp)]
    #[needs(Signals)]
    async fn a_promoted_job_wakes_the_waiting(world: &World) -> Checked {
        world.add(job().id(id("1")).delay(secs(600))).await?;
        wakes(world, Wake::Work, "a promotion", async |other: Handle| {
            other.queue.promote(&q(), &id("1")).await?;
            Ok(())
        })
        .await
    }

    /// Who runs a job is woken when somebody asks to cancel it.
    #[breaks_on(LostWakeUp)]
    #[needs(Signals)]
    async fn a_cancel_wakes_the_holder(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        world.take().await?;
        wakes(world, Wake::Beat, "a cancel", async |other: Handle| {
            other.queue.cancel(&q(), &id("1")).await?;
            Ok(())
        })
        .await
    }

    /// Who runs a job is woken when somebody removes it.
    #[breaks_on(LostWakeUp)]
    #[needs(Signals)]
    async fn a_removal_wakes_the_holder(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        world.take().await?;
        wakes(world, Wake::Beat, "a removal", async |other: Handle| {
            other.queue.remove(&q(), &id("1")).await?;
            Ok(())
        })
        .await
    }

    /// A store that says that it hears every process is woken by them: whoever believes it looks rarely.
    #[breaks_on(DeafListener)]
    #[needs(Signals)]
    async fn who_says_it_hears_is_woken(world: &World) -> Checked {
        // A wake-up across processes first: a store that can hear has begun to.
        if !world.jobs.hears() {
            wakes(world, Wake::Work, "a first job", async |other: Handle| other.add(job()).await.map(drop)).await?;
        }
        for what in ["a job, where the store says that it hears", "another, where it still says so"] {
            if world.jobs.hears() {
                wakes(world, Wake::Work, what, async |other: Handle| other.add(job()).await.map(drop)).await?;
            }
        }
        Ok(())
    }

    /// A store whose signals are muted does not say that it hears any: who believed it would look too rarely.
    #[breaks_on(DeafListener)]
    async fn a_muted_store_hears_nothing(world: &World) -> Checked {
        let muted = world.another(|options| options.signals = Signals::Muted).await?;
        ensure!(!muted.jobs.hears(), "a muted store says that it hears");
        muted.second().await?.add(job().id(id("1"))).await?;
        ensure_eq!(muted.take().await?.claim.job, id("1"), "the job of another process");
        ensure!(!muted.jobs.hears(), "a muted store says that it hears, after another process's job");
        Ok(())
    }

    /// Without any signal, who looks again finds everything: the table is the truth.
    #[breaks_on(LostJob)]
    async fn who_looks_again_needs_no_signal(world: &World) -> Checked {
        let other = world.second().await?;
        other.add(job().id(id("1"))).await?;
        ensure_eq!(world.take().await?.claim.job, id("1"), "the job of another process");
        other.add(job().id(id("2")).delay(secs(1))).await?;
        world.advance(secs(1)).await?;
        world.jobs.promote_due().await?;
        ensure_eq!(world.take().await?.claim.job, id("2"), "the delayed job of another process");
        Ok(())
    }
}
