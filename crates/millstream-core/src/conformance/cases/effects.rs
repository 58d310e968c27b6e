//! What a handler wants to happen with its outcome.

use serde_json::json;

use crate::{
    Append, Effects, Error, JobEvents, JobState, NewJob, Outcome, RunRow, Settlement, StateOp, Verdict,
    conformance::{
        case::{Checked, cases, ensure, ensure_eq, ensure_matches},
        world::{TUNED, World, done, event, failed, id, job, job_in, numbered, q, queue, stream},
    },
};

fn append(append: Append) -> Effects {
    Effects { append: vec![append], ..Effects::default() }
}

fn set(key: &str, value: serde_json::Value) -> StateOp {
    StateOp::Set { key: key.into(), value, ttl: None }
}

/// An effect that is refused: the stream `s` is not at version 9.
fn conflict() -> Effects {
    let mut effects = append(Append::one(stream("s"), event("never")).expecting(9));
    effects.enqueue.push(job().id(id("never")));
    effects.state.push(set("never", json!(1)));
    effects
}

/// Nothing of [`conflict`] was written.
async fn nothing_written(world: &World) -> Checked {
    ensure_eq!(world.events.head().await?, 0, "events");
    ensure_eq!(world.queue.job(&q(), &id("never")).await?, None, "the job");
    ensure_eq!(world.state.get("never").await?, None, "the state");
    Ok(())
}

cases! {
    /// Events, jobs and state are written with the outcome.
    #[breaks_on(DroppedEffects)]
    async fn effects_are_written_with_the_outcome(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        world.state.apply(&[set("gone", json!(1))]).await?;
        let claimed = world.take().await?;
        let effects = Effects {
            append: vec![Append { events: vec![event("a"), event("b")], ..Append::one(stream("s"), event("a")) }],
            enqueue: vec![job().id(id("2")), job().id(id("3"))],
            state: vec![set("k", json!({ "n": 1 })), StateOp::Delete { key: "gone".into() }],
            runs: vec![RunRow {
                flow: "flow".into(),
                run: "run".into(),
                status: "running".into(),
                started_at: world.now().await?,
                completed_at: None,
            }],
        };
        let verdict = world.settle_with(&claimed.claim, done(), effects).await?;
        ensure_matches!(verdict, Verdict::Settled(JobState::Completed), "the verdict");
        let kinds: Vec<_> = world.log("s").await?.into_iter().map(|event| event.kind.to_string()).collect();
        ensure_eq!(kinds, ["a", "b"], "events");
        ensure_eq!(world.state_of(&id("2")).await?, JobState::Waiting, "the first job");
        ensure_eq!(world.state_of(&id("3")).await?, JobState::Waiting, "the second job");
        ensure_eq!(world.state.get("k").await?, Some(json!({ "n": 1 })), "state that was set");
        ensure_eq!(world.state.get("gone").await?, None, "state that was deleted");
        Ok(())
    }

    /// An attempt that does not end its job writes its effects, too.
    #[breaks_on(DroppedEffects)]
    async fn a_failed_attempt_writes_its_effects(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        let effects = append(Append::one(stream("s"), event("attempt.failed")));
        let verdict = world.settle_with(&claimed.claim, failed(), effects).await?;
        ensure_matches!(verdict, Verdict::Settled(JobState::Delayed), "the verdict");
        ensure_eq!(world.log("s").await?.len(), 1, "events");
        Ok(())
    }

    /// A refused effect refuses its outcome: nothing is written, the claim still holds, and another outcome settles.
    #[breaks_on(OutcomeWithoutEffects, BlindExpected)]
    async fn a_refused_effect_leaves_the_claim(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        let verdict = world.settle_with(&claimed.claim, done(), conflict()).await?;
        let refused = Verdict::EffectRefused(Error::VersionConflict { stream: "s".into(), expected: 9, actual: 0 });
        ensure_eq!(format!("{verdict:?}"), format!("{refused:?}"), "the verdict");
        nothing_written(world).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Active, "the job");
        ensure_eq!(world.jobs.beat(std::slice::from_ref(&claimed.claim)).await?, vec![], "the answer of a beat");
        ensure_eq!(world.settle(&claimed, done()).await?, JobState::Completed, "a settle without it");
        Ok(())
    }

    /// One refused effect fails none of its neighbours in the batch, before it or after.
    #[breaks_on(NeighbourFails, BlindExpected)]
    async fn a_refused_effect_fails_no_neighbour(world: &World) -> Checked {
        world.add_all(numbered(4)).await?;
        let claimed = world.claim(&q(), 4).await?;
        ensure_eq!(claimed.len(), 4, "jobs claimed");
        let fine = |n: usize| append(Append::one(stream("t"), event(&n.to_string())));
        let effects = [fine(0), conflict(), fine(2), fine(3)];
        let batch: Vec<Settlement> = claimed
            .iter()
            .zip(effects)
            .map(|(one, effects)| Settlement { claim: one.claim.clone(), outcome: done(), effects })
            .collect();
        let verdicts = world.jobs.settle(&batch).await?;
        for (n, verdict) in verdicts.iter().enumerate() {
            let wanted = if n == 1 { "EffectRefused" } else { "Settled(Completed)" };
            ensure!(format!("{verdict:?}").starts_with(wanted), "verdict {n} is {verdict:?}, wanted {wanted}");
        }
        let kinds: Vec<_> = world.log("*").await?.into_iter().map(|event| event.kind.to_string()).collect();
        ensure_eq!(kinds, ["0", "2", "3"], "events");
        ensure_eq!(world.counts().await?.completed, 3, "jobs completed");
        Ok(())
    }

    /// A settle whose claim is lost has neighbours that are accepted.
    #[breaks_on(UnfencedEffects)]
    async fn a_lost_claim_fails_no_neighbour(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        let claimed = world.claim(&q(), 2).await?;
        world.jobs.release(std::slice::from_ref(&claimed[0].claim)).await?;
        let batch: Vec<Settlement> = claimed
            .iter()
            .map(|one| Settlement {
                claim: one.claim.clone(),
                outcome: done(),
                effects: append(Append::one(stream(one.claim.job.as_str()), event("done"))),
            })
            .collect();
        let verdicts = world.jobs.settle(&batch).await?;
        ensure_matches!(verdicts[0], Verdict::LostClaim, "the lost one");
        ensure_matches!(verdicts[1], Verdict::Settled(_), "its neighbour");
        let streams: Vec<_> = world.log("*").await?.into_iter().map(|event| event.stream.to_string()).collect();
        ensure_eq!(streams, ["1"], "streams with events");
        Ok(())
    }

    /// Effects of one settle, and of one batch, build on each other.
    #[breaks_on(DroppedEffects, WrongVersions)]
    async fn effects_build_on_each_other(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        let claimed = world.claim(&q(), 2).await?;
        let at = |version| Append::one(stream("s"), event("e")).expecting(version);
        let effects = [
            Effects { append: vec![at(0), at(1)], ..Effects::default() },
            Effects { append: vec![at(2)], ..Effects::default() },
        ];
        let batch: Vec<Settlement> = claimed
            .iter()
            .zip(effects)
            .map(|(one, effects)| Settlement { claim: one.claim.clone(), outcome: done(), effects })
            .collect();
        for verdict in world.jobs.settle(&batch).await? {
            ensure_matches!(verdict, Verdict::Settled(_), "a verdict");
        }
        let versions: Vec<_> = world.log("s").await?.into_iter().filter_map(|event| event.version).collect();
        ensure_eq!(versions, [1, 2, 3], "versions");
        Ok(())
    }

    /// An append whose key was used, and a job whose id is taken, are no refusal: a repeat is harmless.
    #[breaks_on(ForgottenKey)]
    async fn a_repeated_effect_is_harmless(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        let effects = Effects {
            append: vec![Append::one(stream("s"), event("once")).key("1:0")],
            enqueue: vec![job().id(id("next"))],
            ..Effects::default()
        };
        for _ in 0..2 {
            let claimed = world.claim(&q(), 1).await?;
            let verdict = world.settle_with(&claimed[0].claim, done(), effects.clone()).await?;
            ensure_matches!(verdict, Verdict::Settled(JobState::Completed), "the verdict");
        }
        ensure_eq!(world.log("s").await?.len(), 1, "events");
        ensure_eq!(world.counts().await?.waiting, 1, "jobs enqueued");
        Ok(())
    }

    /// A job that is an effect is completed from its queue's defaults, as any other.
    #[breaks_on(DroppedEffects)]
    async fn an_enqueued_effect_gets_its_queues_defaults(world: &World) -> Checked {
        world.add(job()).await?;
        let claimed = world.take().await?;
        let effects = Effects { enqueue: vec![job_in(TUNED).id(id("2"))], ..Effects::default() };
        world.settle_with(&claimed.claim, done(), effects).await?;
        let stored = world.look_in(&queue(TUNED), &id("2")).await?;
        ensure_eq!((stored.settings.attempts, stored.state), (7, JobState::Delayed), "attempts and state");
        Ok(())
    }

    /// An effect that its handler got wrong is refused, not stored.
    #[breaks_on(SilentLimit)]
    async fn an_invalid_effect_is_refused(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        let effects = Effects { enqueue: vec![NewJob { ..job().attempts(0) }], ..Effects::default() };
        let verdict = world.settle_with(&claimed.claim, done(), effects).await?;
        ensure_matches!(verdict, Verdict::EffectRefused(Error::Invalid { .. }), "a job without attempts");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Active, "the job");
        Ok(())
    }

    /// Where every job event is wanted, the log tells the whole life of a job.
    #[breaks_on(SkippedEvent)]
    #[needs(OneRealm)]
    async fn the_log_tells_the_life_of_a_job(world: &World) -> Checked {
        let world = world.another(|options| options.job_events = JobEvents::All).await?;
        world.add(job().id(id("1"))).await?;
        world.settle(&world.take().await?, Outcome::Snooze(std::time::Duration::from_secs(1))).await?;
        world.queue.promote(&q(), &id("1")).await?;
        world.settle(&world.take().await?, done()).await?;
        let events = world.log("nq:queue:q").await?;
        let kinds: Vec<_> = events.iter().map(|event| &*event.kind).collect();
        let wanted = ["job.waiting", "job.active", "job.delayed", "job.waiting", "job.active", "job.completed"];
        ensure_eq!(kinds, wanted, "the kinds of events");
        for event in &events {
            let text = event.data.to_string();
            ensure!(text.contains("\"1\"") && text.contains("work"), "the event names the job: {text}");
        }
        Ok(())
    }

    /// Where only failures are wanted, the log tells of those only; by default, of none.
    #[breaks_on(LostSettle)]
    #[needs(OneRealm)]
    async fn the_log_tells_failures_only_where_asked(world: &World) -> Checked {
        let failures = world.another(|options| options.job_events = JobEvents::Failures).await?;
        for world in [world, &*failures] {
            world.add_all(numbered(2)).await?;
            world.settle(&world.take().await?, done()).await?;
            world.settle(&world.take().await?, Outcome::Fail(json!("gone"))).await?;
        }
        let kinds: Vec<_> = failures.log("*").await?.into_iter().map(|event| event.kind.to_string()).collect();
        ensure_eq!(kinds, ["job.failed"], "the kinds of events");
        ensure_eq!(world.events.head().await?, 0, "events by default");
        Ok(())
    }
}
