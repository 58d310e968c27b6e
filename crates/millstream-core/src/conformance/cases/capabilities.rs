//! What a store lacks is refused by its name; everything else works.

use crate::{
    Append, Effects, Error, JobState, Outcome, Verdict,
    conformance::{
        case::{cases, ensure, ensure_eq},
        world::{LEASE, done, event, id, ids, job, numbered, q, stream},
    },
};

cases! {
    /// A cancelled job has the state that the store says it has.
    #[breaks_on(LyingCapabilities)]
    async fn the_state_of_cancelled_jobs_is_as_told(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        world.settle(&world.take().await?, Outcome::Cancel("no".into())).await?;
        let own = world.queue.capabilities().cancelled_state;
        let wanted = if own { JobState::Cancelled } else { JobState::Failed };
        ensure_eq!(world.state_of(&id("1")).await?, wanted, "the state of a cancelled job");
        Ok(())
    }

    /// Effects are written by `settle` where the store says so, and refused by that name where not.
    #[breaks_on(LyingCapabilities)]
    async fn effects_in_settle_are_as_told(world: &World) -> Checked {
        world.add(job()).await?;
        let claim = world.take().await?.claim;
        let effects = Effects { append: vec![Append::one(stream("s"), event("e"))], ..Effects::default() };
        let verdict = world.settle_with(&claim, done(), effects).await?;
        let written = matches!(verdict, Verdict::Settled(_));
        let refused = matches!(verdict, Verdict::EffectRefused(Error::Unsupported { .. }));
        ensure_eq!(
            (written, refused),
            {
                let can = world.jobs.capabilities().effects_in_settle;
                (can, !can)
            },
            "whether the effects were written, or refused by name"
        );
        Ok(())
    }

    /// A pause is seen by every process where the store says so.
    #[breaks_on(LyingCapabilities)]
    async fn a_shared_pause_is_as_told(world: &World) -> Checked {
        let second = world.second().await?;
        world.queue.pause(&q()).await?;
        let seen = second.queue.is_paused(&q()).await?;
        ensure_eq!(seen, world.queue.capabilities().shared_pause, "whether another process sees a pause");
        Ok(())
    }

    /// A job that comes back has the place that the store says it has.
    #[breaks_on(LyingCapabilities)]
    async fn the_order_is_as_told(world: &World) -> Checked {
        world.add_all(numbered(3)).await?;
        let first = world.take().await?;
        world.jobs.release(&[first.claim]).await?;
        let anew = world.queue.capabilities().ready_order;
        let wanted = if anew { ["1", "2", "0"] } else { ["0", "1", "2"] };
        ensure_eq!(ids(&world.claim(&q(), 5).await?), wanted, "the order after a release");
        Ok(())
    }

    /// Every seam and every handle of one store name the same kind and realm, and the lease is the one asked for.
    #[breaks_on(LyingCapabilities)]
    async fn a_store_says_what_it_is(world: &World) -> Checked {
        let second = world.second().await?;
        ensure!(!world.queue.kind().is_empty(), "it has a kind");
        ensure_eq!(world.queue.realm(), second.queue.realm(), "the realm of two handles");
        ensure_eq!(world.queue.kind(), second.queue.kind(), "the kind of two handles");
        ensure_eq!(world.jobs.lease(), LEASE, "the lease");
        if world.events.realm() == world.queue.realm() {
            ensure!(world.queue.capabilities().effects_in_settle, "one realm, one commit");
        }
        Ok(())
    }
}
