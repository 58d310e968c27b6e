//! What was acknowledged outlives every process.

use serde_json::json;

use crate::{
    JobState, JobsQuery, Schedule, StateOp,
    conformance::{
        case::{cases, ensure, ensure_eq},
        world::{LEASE, done, failed, id, ids, job, numbered, q, secs},
    },
};

cases! {
    /// Jobs are as they were, in every state, and their order is kept.
    #[breaks_on(Amnesia)]
    #[needs(Reopen)]
    async fn jobs_outlive_a_restart(world: &World) -> Checked {
        world.add_all(numbered(6)).await?;
        world.add(job().id(id("delayed")).delay(secs(60))).await?;
        let claimed = world.claim(&q(), 3).await?;
        world.settle(&claimed[0], done()).await?;
        world.settle(&claimed[1], failed()).await?;
        let before = world.list(JobsQuery::of(q())).await?;
        let counts = world.counts().await?;
        let after = world.reopen().await?;
        ensure_eq!(after.list(JobsQuery::of(q())).await?, before, "the listing");
        ensure_eq!(after.counts().await?, counts, "the counts");
        ensure_eq!(ids(&after.claim(&q(), 10).await?), ["3", "4", "5"], "the order of a claim");
        Ok(())
    }

    /// A claim outlives the process that took it: it can be settled, and it can expire.
    #[breaks_on(Amnesia)]
    #[needs(Reopen)]
    async fn claims_outlive_a_restart(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        let claimed = world.claim(&q(), 2).await?;
        let after = world.reopen().await?;
        after.settle(&claimed[0], done()).await?;
        world.advance(LEASE + secs(1)).await?;
        ensure_eq!(after.jobs.rescue().await?, 1, "jobs rescued");
        ensure_eq!(after.state_of(&id("1")).await?, JobState::Waiting, "the job of the claim that expired");
        Ok(())
    }

    /// Schedules and their ticks outlive a restart.
    #[breaks_on(Amnesia)]
    #[needs(Reopen)]
    async fn schedules_outlive_a_restart(world: &World) -> Checked {
        let schedule = Schedule::new(q(), "minutely", "* * * * *", crate::JobName::from(&q()));
        world.queue.schedule_upsert(&schedule).await?;
        let before = world.queue.schedules(None).await?;
        let after = world.reopen().await?;
        ensure_eq!(after.queue.schedules(None).await?, before, "the schedules");
        world.advance(secs(30)).await?;
        after.jobs.fire_schedules().await?;
        ensure_eq!(after.counts().await?.waiting, 1, "jobs of the first tick");
        Ok(())
    }

    /// Run state outlives a restart, with its time to live.
    #[breaks_on(Amnesia)]
    #[needs(Reopen)]
    async fn state_outlives_a_restart(world: &World) -> Checked {
        let set = |key: &str, ttl| StateOp::Set { key: key.into(), value: json!(1), ttl };
        world.state.apply(&[set("a", None), set("b", Some(secs(10)))]).await?;
        let after = world.reopen().await?;
        ensure_eq!(after.state.get("a").await?, Some(json!(1)), "a value");
        world.advance(secs(11)).await?;
        ensure_eq!(after.state.get("b").await?, None, "a value past its time");
        Ok(())
    }

    /// Events keep their positions, and the next goes on from them; so do keys and versions.
    #[breaks_on(GapInPositions, ForgottenKey)]
    #[needs(Reopen)]
    async fn events_outlive_a_restart(world: &World) -> Checked {
        let keyed = crate::Append::one(crate::conformance::world::stream("s"), crate::NewEvent::new("e", json!(1)));
        world.append("s", "first").await?;
        let first = world.events.append(&[keyed.clone().key("k").expecting(1)]).await?.remove(0);
        let before = world.log("*").await?;
        let after = world.reopen().await?;
        ensure_eq!(after.log("*").await?, before, "the log");
        let again = after.events.append(&[keyed.key("k")]).await?.remove(0);
        ensure_eq!((again.duplicate, again.positions), (true, first.positions), "an append under the same key");
        let next = after.append("s", "next").await?;
        ensure!(next.positions.is_none_or(|positions| positions == (3, 3)), "the next append: {next:?}");
        ensure_eq!(next.version, Some(3), "its version");
        let positions: Vec<_> = after.log("*").await?.iter().map(|event| event.id).collect();
        ensure_eq!(positions, [1, 2, 3], "positions at the end");
        Ok(())
    }
}
