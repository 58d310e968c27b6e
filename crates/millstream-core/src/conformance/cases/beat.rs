//! The heartbeat.

use crate::{
    Signal,
    conformance::{
        case::{cases, ensure_eq},
        world::{LEASE, done, id, job, numbered, q, secs},
    },
};

cases! {
    /// A claim that is named in beats holds as long as they come.
    #[breaks_on(BeatForgets)]
    async fn a_beat_renews_the_claim(world: &World) -> Checked {
        world.add(job()).await?;
        let claimed = world.take().await?;
        for _ in 0..5 {
            world.advance(LEASE - secs(1)).await?;
            ensure_eq!(world.jobs.beat(std::slice::from_ref(&claimed.claim)).await?, vec![], "the answer of a beat");
            ensure_eq!(world.jobs.rescue().await?, 0, "jobs rescued");
        }
        world.advance(LEASE - secs(1)).await?;
        world.settle(&claimed, done()).await?;
        Ok(())
    }

    /// A beat renews for one lease, from now.
    #[breaks_on(NoFence)]
    async fn a_beat_renews_for_one_lease(world: &World) -> Checked {
        world.add(job()).await?;
        let claimed = world.take().await?;
        world.advance(secs(1)).await?;
        world.jobs.beat(std::slice::from_ref(&claimed.claim)).await?;
        world.advance(LEASE + secs(1)).await?;
        world.refused(&claimed).await
    }

    /// A beat renews only the claims it names.
    #[breaks_on(BeatRenewsAll)]
    async fn a_beat_renews_only_what_it_names(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        let claimed = world.claim(&q(), 2).await?;
        ensure_eq!(claimed.len(), 2, "jobs claimed");
        world.advance(LEASE - secs(1)).await?;
        world.jobs.beat(std::slice::from_ref(&claimed[0].claim)).await?;
        world.advance(secs(2)).await?;
        world.refused(&claimed[1]).await?;
        ensure_eq!(world.jobs.rescue().await?, 1, "jobs rescued");
        world.settle(&claimed[0], done()).await?;
        Ok(())
    }

    /// A beat is silent about claims that hold and need nothing.
    #[breaks_on(AlarmedBeat)]
    async fn a_beat_is_silent_about_healthy_claims(world: &World) -> Checked {
        world.add_all(numbered(3)).await?;
        let claims: Vec<_> = world.claim(&q(), 3).await?.into_iter().map(|one| one.claim).collect();
        ensure_eq!(world.jobs.beat(&claims).await?, vec![], "the answer of a beat");
        Ok(())
    }

    /// A beat tells who lost a claim, however it was lost, and tells it of that one only.
    #[breaks_on(NeverLost, AlarmedBeat)]
    async fn a_beat_tells_that_a_claim_is_lost(world: &World) -> Checked {
        world.add_all(numbered(5)).await?;
        let claimed = world.claim(&q(), 5).await?;
        ensure_eq!(claimed.len(), 5, "jobs claimed");
        world.settle(&claimed[0], done()).await?;
        world.jobs.release(std::slice::from_ref(&claimed[1].claim)).await?;
        world.queue.remove(&q(), &id("2")).await?;
        let claims: Vec<_> = claimed.into_iter().map(|one| one.claim).collect();
        let mut told = world.jobs.beat(&claims).await?;
        told.sort_by(|(a, _), (b, _)| a.job.cmp(&b.job));
        let wanted: Vec<_> = claims[..3].iter().map(|claim| (claim.clone(), Signal::Lost)).collect();
        ensure_eq!(told, wanted, "settled, released and removed claims");
        Ok(())
    }

    /// A beat that comes after the lease does not bring the claim back.
    #[breaks_on(NeverLost)]
    async fn a_late_beat_revives_nothing(world: &World) -> Checked {
        world.add(job()).await?;
        let claimed = world.take().await?;
        world.advance(LEASE + secs(1)).await?;
        let told = world.jobs.beat(std::slice::from_ref(&claimed.claim)).await?;
        ensure_eq!(told, vec![(claimed.claim.clone(), Signal::Lost)], "the answer of a late beat");
        world.refused(&claimed).await?;
        ensure_eq!(world.jobs.rescue().await?, 1, "jobs rescued");
        Ok(())
    }

    /// A beat tells that somebody asked to cancel the job, again and again, and still renews the claim.
    #[breaks_on(IgnoredCancel, BeatForgets)]
    async fn a_beat_tells_of_a_cancel(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.queue.cancel(&q(), &id("1")).await?;
        for _ in 0..3 {
            let told = world.jobs.beat(std::slice::from_ref(&claimed.claim)).await?;
            ensure_eq!(told, vec![(claimed.claim.clone(), Signal::Cancel)], "the answer of a beat");
            world.advance(LEASE - secs(1)).await?;
        }
        world.settle(&claimed, done()).await?;
        Ok(())
    }
}
