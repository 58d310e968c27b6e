//! Backfill, then live.

use crate::{
    BoxStream, Error, Event, Result, StartFrom,
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq, ensure_matches},
        world::{World, pattern, secs},
    },
};

use super::watch::next;

type Subscription = BoxStream<Result<Event>>;

async fn subscribe(world: &World, text: &str, from: StartFrom) -> Checked<Subscription> {
    Ok(world.events.subscribe(&pattern(text), from).await?)
}

/// The positions of the next events.
async fn positions(world: &World, stream: &mut Subscription, count: usize) -> Checked<Vec<u64>> {
    let mut positions = Vec::new();
    while positions.len() < count {
        let what = format!("event {} of {count}; so far {positions:?}", positions.len() + 1);
        positions.push(next(world, stream, &what).await??.id);
    }
    Ok(positions)
}

async fn append(world: &World, count: usize) -> Checked {
    for _ in 0..count {
        world.append("s", "e").await?;
    }
    Ok(())
}

cases! {
    /// What is there, then what comes: no gap, no double, in order.
    #[breaks_on(SkippedEvent, DoubleEvent, ReorderedEvents, DeafSubscribe)]
    async fn backfill_goes_over_into_live(world: &World) -> Checked {
        append(world, 5).await?;
        let mut stream = subscribe(world, "*", StartFrom::Start).await?;
        ensure_eq!(positions(world, &mut stream, 5).await?, [1, 2, 3, 4, 5], "the backfill");
        let other = world.second().await?;
        for _ in 0..3 {
            other.append("s", "e").await?;
        }
        ensure_eq!(positions(world, &mut stream, 3).await?, [6, 7, 8], "what another process appends");
        append(world, 2).await?;
        ensure_eq!(positions(world, &mut stream, 2).await?, [9, 10], "what this one appends");
        Ok(())
    }

    /// Nothing is lost or doubled between backfill and live while many append.
    #[breaks_on(SkippedEvent, DoubleEvent, ReorderedEvents)]
    async fn nothing_is_lost_while_many_append(world: &World) -> Checked {
        let second = world.second().await?;
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..6 {
            let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
            racing.spawn(async move {
                for _ in 0..30 {
                    handle.append(&format!("s{n}"), "e").await?;
                }
                Ok::<_, Failure>(())
            });
        }
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(subscribe(world, "*", StartFrom::Start).await?);
            tokio::task::yield_now().await;
        }
        for stream in &mut streams {
            let found = positions(world, stream, 180).await?;
            ensure_eq!(found, (1..=180).collect::<Vec<u64>>(), "positions of a subscriber");
        }
        while let Some(done) = racing.join_next().await {
            done.map_err(Failure::new)??;
        }
        Ok(())
    }

    /// What somebody appends because he was delivered an event comes after that event, for everybody.
    #[breaks_on(ReorderedEvents)]
    async fn an_effect_comes_after_its_cause(world: &World) -> Checked {
        const CAUSES: usize = 20;
        let (cause, effect) = (world.second().await?, world.second().await?);
        let mut causes = subscribe(world, "cause", StartFrom::Start).await?;
        let mut others = tokio::task::JoinSet::new();
        for handle in [cause.clone(), effect.clone()] {
            others.spawn(async move {
                for n in 0..CAUSES * 2 {
                    handle.append("other", &n.to_string()).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        for n in 0..CAUSES {
            cause.append("cause", &n.to_string()).await?;
            let event = next(world, &mut causes, &format!("cause {n}")).await??;
            effect.append("effect", &event.kind).await?;
        }
        while let Some(appended) = others.join_next().await {
            appended.map_err(Failure::new)??;
        }
        let mut everything = subscribe(world, "*", StartFrom::Start).await?;
        let mut seen = std::collections::HashSet::new();
        for n in 0..CAUSES * 6 {
            let event = next(world, &mut everything, &format!("event {n} of all")).await??;
            match event.stream.as_str() {
                "cause" => drop(seen.insert(event.kind)),
                "effect" => ensure!(seen.contains(&event.kind), "the effect of {} comes before it", event.kind),
                _ => {}
            }
        }
        ensure_eq!(seen.len(), CAUSES, "causes");
        Ok(())
    }

    /// A subscription begins after the position it names; 0 is the start.
    #[breaks_on(ForgetsStart, DeafSubscribe)]
    async fn a_subscription_begins_after_its_position(world: &World) -> Checked {
        append(world, 5).await?;
        let mut stream = subscribe(world, "*", StartFrom::After(3)).await?;
        ensure_eq!(positions(world, &mut stream, 2).await?, [4, 5], "after 3");
        let mut start = subscribe(world, "*", StartFrom::After(0)).await?;
        ensure_eq!(positions(world, &mut start, 5).await?, [1, 2, 3, 4, 5], "after 0");
        let mut end = subscribe(world, "*", StartFrom::After(5)).await?;
        append(world, 1).await?;
        ensure_eq!(positions(world, &mut end, 1).await?, [6], "after the last");
        Ok(())
    }

    /// A subscription from now sees what is appended after its call returned, and nothing of before.
    #[breaks_on(ForgetsStart, DeafSubscribe)]
    async fn a_subscription_from_now_sees_what_comes(world: &World) -> Checked {
        append(world, 3).await?;
        let mut stream = subscribe(world, "*", StartFrom::Now).await?;
        append(world, 2).await?;
        ensure_eq!(positions(world, &mut stream, 2).await?, [4, 5], "from now");
        Ok(())
    }

    /// A subscription from a time sees what was taken in since then; from a time to come, what comes.
    #[breaks_on(ForgetsStart)]
    async fn a_subscription_begins_at_its_time(world: &World) -> Checked {
        let start = world.now().await?;
        for _ in 0..4 {
            append(world, 1).await?;
            world.advance(secs(10)).await?;
        }
        let mut stream = subscribe(world, "*", StartFrom::Time(start + secs(10))).await?;
        ensure_eq!(positions(world, &mut stream, 3).await?, [2, 3, 4], "from a time between");
        let mut stream = subscribe(world, "*", StartFrom::Time(start + secs(11))).await?;
        ensure_eq!(positions(world, &mut stream, 2).await?, [3, 4], "from just after");
        let mut late = subscribe(world, "*", StartFrom::Time(start + secs(3600))).await?;
        world.advance(secs(7200)).await?;
        append(world, 1).await?;
        ensure_eq!(positions(world, &mut late, 1).await?, [5], "from a time to come");
        Ok(())
    }

    /// A position beyond the log says that an older copy was restored.
    #[breaks_on(SilentRestore)]
    async fn a_position_beyond_the_log_is_an_error(world: &World) -> Checked {
        append(world, 2).await?;
        let answer = match world.events.subscribe(&pattern("*"), StartFrom::After(7)).await {
            Err(error) => Err(error),
            Ok(mut stream) => next(world, &mut stream, "an error").await?.map(|event| event.id),
        };
        ensure_matches!(answer, Err(Error::LogWentBack { requested: 7, head: 2 }), "a position beyond the log");
        Ok(())
    }

    /// A subscription sees the streams of its pattern only, however rare they are.
    #[breaks_on(LikePattern, SkippedEvent)]
    async fn a_rare_pattern_is_followed(world: &World) -> Checked {
        let mut stream = subscribe(world, "rare_*", StartFrom::Start).await?;
        world.append("rare_1", "e").await?;
        ensure_eq!(positions(world, &mut stream, 1).await?, [1], "the first of it");
        for n in 0..300 {
            world.append(if n % 2 == 0 { "rareX1" } else { "common" }, "e").await?;
        }
        world.append("rare_2", "e").await?;
        world.append("rare_2", "e").await?;
        ensure_eq!(positions(world, &mut stream, 2).await?, [302, 303], "the next of it");
        Ok(())
    }

    /// Subscribers do not share: each sees every event.
    #[breaks_on(SkippedEvent)]
    async fn every_subscriber_sees_every_event(world: &World) -> Checked {
        let mut first = subscribe(world, "*", StartFrom::Now).await?;
        let mut second = subscribe(world, "s", StartFrom::Now).await?;
        append(world, 4).await?;
        ensure_eq!(positions(world, &mut first, 4).await?, [1, 2, 3, 4], "the first");
        ensure_eq!(positions(world, &mut second, 4).await?, [1, 2, 3, 4], "the second");
        Ok(())
    }

    /// More than a buffer of events reaches a subscriber that was slow to look.
    #[breaks_on(SkippedEvent, DoubleEvent)]
    async fn a_slow_subscriber_loses_nothing(world: &World) -> Checked {
        let mut stream = subscribe(world, "*", StartFrom::Now).await?;
        let count = crate::limits::SUBSCRIBE_BUFFER * 3;
        let batch =
            vec![crate::Append::one(crate::conformance::world::stream("s"), crate::NewEvent::new("e", 1.into())); 64];
        for _ in 0..count / batch.len() {
            world.events.append(&batch).await?;
        }
        let found = positions(world, &mut stream, count).await?;
        ensure_eq!(found, (1..=count as u64).collect::<Vec<u64>>(), "positions");
        Ok(())
    }

    /// A subscription that goes away leaves the store as it was.
    #[breaks_on(DeafSubscribe)]
    async fn a_dropped_subscription_disturbs_nobody(world: &World) -> Checked {
        let mut stays = subscribe(world, "*", StartFrom::Now).await?;
        for _ in 0..20 {
            drop(subscribe(world, "*", StartFrom::Start).await?);
        }
        append(world, 1).await?;
        ensure_eq!(positions(world, &mut stays, 1).await?, [1], "the one that stays");
        ensure!(world.events.head().await? == 1, "the log goes on");
        Ok(())
    }
}
