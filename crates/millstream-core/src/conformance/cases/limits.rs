//! What no store accepts is refused by name, and nothing is written.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Append, Backoff, Effects, Error, NewJob, Outcome, Result, Schedule, Settlement, StateOp, Verdict,
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq, ensure_matches},
        world::{World, done, event, id, job, numbered, q, stream},
    },
    limits::{
        APPEND_BATCH_MAX, ATTEMPTS_MAX, DELAY_MAX, EFFECTS_MAX, ENQUEUE_BATCH_MAX, ERROR_BYTES_MAX, KEY_BYTES_MAX,
        PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX,
    },
};

fn invalid<T: std::fmt::Debug>(what: &str, answer: Result<T>) -> Checked {
    match answer {
        Err(Error::Invalid { .. }) => Ok(()),
        other => Err(Failure::new(format_args!("{what} is refused as invalid, found {:.200}", format!("{other:?}")))),
    }
}

fn too_large() -> Value {
    Value::String("x".repeat(PAYLOAD_BYTES_MAX))
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "in": inner }) })
}

async fn refused_job(world: &World, what: &str, job: NewJob) -> Checked {
    invalid(what, world.queue.enqueue(&[job]).await)?;
    ensure_eq!(world.counts().await?.total(), 0, "jobs stored after {what}");
    Ok(())
}

cases! {
    /// A job's data has a bound, and at the bound it is accepted.
    #[breaks_on(SilentLimit)]
    async fn a_payload_has_a_bound(world: &World) -> Checked {
        refused_job(world, "data over the bound", NewJob { data: too_large(), ..job() }).await?;
        let largest = Value::String("x".repeat(PAYLOAD_BYTES_MAX - 2));
        let stored = world.add(NewJob { data: largest.clone(), ..job() }).await?;
        ensure!(world.look(&stored).await?.data == largest, "data at the bound is kept");
        Ok(())
    }

    /// NUL is refused wherever it is in the data.
    #[breaks_on(SilentLimit)]
    async fn nul_is_refused_in_data(world: &World) -> Checked {
        for data in [json!("\0"), json!(["a", { "b": "c\0" }]), json!({ "k\0": 1 })] {
            refused_job(world, "data with NUL", NewJob { data, ..job() }).await?;
        }
        refused_job(world, "a trace with NUL", NewJob { trace: Some(json!("\0")), ..job() }).await?;
        let escaped = json!("\\u0000");
        let stored = world.add(NewJob { data: escaped.clone(), ..job() }).await?;
        ensure_eq!(world.look(&stored).await?.data, escaped, "text that only looks like NUL");
        Ok(())
    }

    /// What is nested deeper than its readers follow is refused, and at the bound it is read again.
    #[breaks_on(SilentLimit)]
    async fn nesting_has_a_bound(world: &World) -> Checked {
        let (deepest, deeper) = (nested(PAYLOAD_DEPTH_MAX), nested(PAYLOAD_DEPTH_MAX + 1));
        refused_job(world, "data nested too deeply", NewJob { data: deeper.clone(), ..job() }).await?;
        refused_job(world, "a trace nested too deeply", NewJob { trace: Some(deeper.clone()), ..job() }).await?;
        let event = |data: &Value| Append::one(stream("s"), crate::NewEvent { data: data.clone(), ..event("e") });
        invalid("an event nested too deeply", world.events.append(&[event(&deeper)]).await)?;
        let set = |value: &Value| StateOp::Set { key: "k".into(), value: value.clone(), ttl: None };
        invalid("a value nested too deeply", world.state.apply(&[set(&deeper)]).await)?;
        let stored = world.add(NewJob { data: deepest.clone(), ..job() }).await?;
        world.events.append(&[event(&deepest)]).await?;
        world.state.apply(&[set(&deepest)]).await?;
        let claimed = world.take().await?;
        ensure_eq!(claimed.data, deepest, "what the handler is given");
        let refused = world.settle_with(&claimed.claim, Outcome::Done(deeper.clone()), Effects::default()).await?;
        ensure_matches!(refused, Verdict::EffectRefused(Error::Invalid { .. }), "an output nested too deeply");
        world.settle(&claimed, Outcome::Done(deepest.clone())).await?;
        ensure_eq!(world.look(&stored).await?.output, Some(deepest.clone()), "the output");
        let events = world.events.query(&crate::EventQuery::of(crate::Pattern::All)).await?;
        ensure!(events.iter().any(|event| event.data == deepest), "the event is read again");
        ensure_eq!(world.state.get("k").await?, Some(deepest), "the value");
        Ok(())
    }

    /// An error that is nested too deeply is not kept, and what it is about can still be read.
    #[breaks_on(LostSettle)]
    async fn an_error_nested_too_deeply_spoils_nothing(world: &World) -> Checked {
        let stored = world.add(job()).await?;
        let error = json!({ "message": "it failed", "details": nested(PAYLOAD_DEPTH_MAX) });
        world.settle(&world.take().await?, Outcome::Fail(error)).await?;
        ensure_eq!(world.look(&stored).await?.state, crate::JobState::Failed, "the job");
        Ok(())
    }

    /// A batch of jobs has a bound.
    #[breaks_on(SilentLimit)]
    async fn a_batch_of_jobs_has_a_bound(world: &World) -> Checked {
        invalid("a batch over the bound", world.queue.enqueue(&numbered(ENQUEUE_BATCH_MAX + 1)).await)?;
        ensure_eq!(world.counts().await?.total(), 0, "jobs stored");
        Ok(())
    }

    /// Options out of bounds are refused.
    #[breaks_on(SilentLimit)]
    async fn options_out_of_bounds_are_refused(world: &World) -> Checked {
        let over = DELAY_MAX + Duration::from_secs(1);
        let jitter = Backoff::Exponential { first: over, cap: Duration::from_secs(9), jitter: 0.0 };
        refused_job(world, "no attempts", job().attempts(0)).await?;
        refused_job(world, "too many attempts", job().attempts(ATTEMPTS_MAX + 1)).await?;
        refused_job(world, "too long a delay", job().delay(over)).await?;
        refused_job(world, "too long a backoff", job().backoff(Backoff::fixed(over))).await?;
        refused_job(world, "too long a first wait", job().backoff(jitter)).await?;
        refused_job(world, "a time beyond the calendar", job().run_at(crate::Timestamp::MAX)).await?;
        refused_job(world, "no time at all", job().timeout(Duration::ZERO)).await
    }

    /// An append has bounds: of its events, of their number, of its key.
    #[breaks_on(SilentLimit)]
    async fn an_append_has_bounds(world: &World) -> Checked {
        let one = |data: Value| Append::one(stream("s"), crate::NewEvent { data, ..event("e") });
        let many = |count| Append { events: vec![event("e"); count], ..one(Value::Null) };
        let key = "k".repeat(KEY_BYTES_MAX + 1);
        invalid("an append of nothing", world.events.append(&[many(0)]).await)?;
        invalid("too many events", world.events.append(&[many(APPEND_BATCH_MAX + 1)]).await)?;
        let halves = [many(APPEND_BATCH_MAX / 2), many(APPEND_BATCH_MAX / 2 + 1)];
        invalid("too many events over two appends", world.events.append(&halves).await)?;
        invalid("an event with NUL", world.events.append(&[one(json!("\0"))]).await)?;
        invalid("an event over the bound", world.events.append(&[one(too_large())]).await)?;
        invalid("a key over the bound", world.events.append(&[one(Value::Null).key(key)]).await)?;
        ensure_eq!(world.events.head().await?, 0, "events stored");
        Ok(())
    }

    /// A value of run state has bounds, and so has its key.
    #[breaks_on(SilentLimit)]
    async fn state_has_bounds(world: &World) -> Checked {
        let set = |key: &str, value: Value| StateOp::Set { key: key.into(), value, ttl: None };
        invalid("an empty key", world.state.apply(&[set("", json!(1))]).await)?;
        invalid("a key with NUL", world.state.apply(&[set("a\0", json!(1))]).await)?;
        invalid("a key over the bound", world.state.apply(&[set(&"k".repeat(KEY_BYTES_MAX + 1), json!(1))]).await)?;
        invalid("a value with NUL", world.state.apply(&[set("k", json!("\0"))]).await)?;
        invalid("a value over the bound", world.state.apply(&[set("k", too_large())]).await)?;
        ensure_eq!(world.state.list("", 10).await?.len(), 0, "keys stored");
        Ok(())
    }

    /// A schedule that can never be read is refused when it is written.
    #[breaks_on(SilentLimit)]
    async fn an_unreadable_schedule_is_refused(world: &World) -> Checked {
        let good = Schedule::new(q(), "key", "* * * * *", crate::JobName::from(&q()));
        let bad = |change: fn(&mut Schedule)| {
            let mut schedule = good.clone();
            change(&mut schedule);
            schedule
        };
        let cases = [
            ("an expression that is none", bad(|schedule| schedule.cron = "every day".into())),
            ("a minute that does not exist", bad(|schedule| schedule.cron = "61 * * * *".into())),
            ("a date that never comes", bad(|schedule| schedule.cron = "0 0 30 2 *".into())),
            ("a year", bad(|schedule| schedule.cron = "0 0 0 1 1 * 2099".into())),
            ("an unknown time zone", bad(|schedule| schedule.time_zone = "Mars/Olympus".into())),
            ("an empty key", bad(|schedule| schedule.key = "".into())),
            ("data with NUL", bad(|schedule| schedule.data = json!("\0"))),
            ("options out of bounds", bad(|schedule| schedule.options.attempts = Some(0))),
        ];
        for (what, schedule) in cases {
            invalid(what, world.queue.schedule_upsert(&schedule).await)?;
        }
        ensure_eq!(world.queue.schedules(None).await?.len(), 0, "schedules stored");
        Ok(())
    }

    /// An effect that no store can hold is refused, and with it its outcome alone.
    #[breaks_on(SilentLimit)]
    async fn an_effect_with_nul_is_refused(world: &World) -> Checked {
        let nul = json!("\0");
        let effects = [
            Effects { enqueue: vec![NewJob { data: nul.clone(), ..job() }], ..Effects::default() },
            Effects {
                append: vec![Append::one(stream("s"), crate::NewEvent { data: nul.clone(), ..event("e") })],
                ..Effects::default()
            },
            Effects { state: vec![StateOp::Set { key: "k".into(), value: nul, ttl: None }], ..Effects::default() },
        ];
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        for effects in effects {
            let verdict = world.settle_with(&claimed.claim, done(), effects).await?;
            ensure_matches!(verdict, Verdict::EffectRefused(Error::Invalid { .. }), "an effect with NUL");
        }
        world.settle(&claimed, done()).await?;
        ensure_eq!(world.counts().await?.total(), 1, "jobs");
        Ok(())
    }

    /// The effects of one settlement have a bound.
    #[breaks_on(SilentLimit)]
    async fn effects_have_a_bound(world: &World) -> Checked {
        world.add(job()).await?;
        let claimed = world.take().await?;
        let state = vec![StateOp::Delete { key: "k".into() }; EFFECTS_MAX + 1];
        let verdict = world.settle_with(&claimed.claim, done(), Effects { state, ..Effects::default() }).await?;
        ensure_matches!(verdict, Verdict::EffectRefused(Error::Invalid { .. }), "too many effects");
        world.settle(&claimed, done()).await?;
        Ok(())
    }

    /// An error that is too long keeps its beginning.
    #[breaks_on(ForgetsResults)]
    async fn a_long_error_keeps_its_beginning(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let long = format!("it failed because {}", "of this ".repeat(ERROR_BYTES_MAX));
        world.settle(&world.take().await?, Outcome::Fail(json!(long))).await?;
        let kept = world.look(&id("1")).await?.error.unwrap_or_default().to_string();
        ensure!(kept.contains("it failed because of this of this"), "its beginning is kept: {kept:.80}");
        ensure!(kept.len() <= ERROR_BYTES_MAX + 256, "{} bytes of an error are kept", kept.len());
        Ok(())
    }

    /// An output that no store can hold is refused, and fails no neighbour.
    #[breaks_on(NeighbourFails)]
    async fn an_output_with_nul_fails_no_neighbour(world: &World) -> Checked {
        world.add_all(numbered(2)).await?;
        let claimed = world.claim(&q(), 2).await?;
        let settle = |n: usize, output: Value| Settlement {
            claim: claimed[n].claim.clone(),
            outcome: Outcome::Done(output),
            effects: Effects::default(),
        };
        let verdicts = world.jobs.settle(&[settle(0, json!("\0")), settle(1, json!("fine"))]).await?;
        ensure_matches!(verdicts[0], Verdict::EffectRefused(Error::Invalid { .. }), "an output with NUL");
        ensure_matches!(verdicts[1], Verdict::Settled(_), "its neighbour");
        world.settle(&claimed[0], done()).await?;
        Ok(())
    }
}
