//! Events in.

use std::collections::HashSet;

use serde_json::json;

use crate::{
    Append, Appended, Error,
    conformance::{
        case::{Failure, cases, ensure, ensure_eq, ensure_matches},
        world::{event, stream},
    },
};

fn several(name: &str, count: usize) -> Append {
    Append { events: vec![event("e"); count], ..Append::one(stream(name), event("e")) }
}

/// Whether an answer's positions are these, or left open: a store may number events after the commit.
fn placed(answer: &Appended, first: u64, last: u64) -> bool {
    answer.positions.is_none_or(|positions| positions == (first, last))
}

cases! {
    /// Positions are dense from 1, versions dense in each stream, and the head is the last position.
    #[breaks_on(GapInPositions, WrongVersions)]
    async fn positions_and_versions_are_dense(world: &World) -> Checked {
        ensure_eq!(world.events.head().await?, 0, "the head of an empty log");
        let begun = vec![several("a", 2).expecting(0), several("b", 1).expecting(0)];
        let batches = [begun, vec![several("a", 3)], vec![several("b", 2)]];
        for batch in batches {
            world.events.append(&batch).await?;
        }
        let log = world.log("*").await?;
        let found: Vec<_> = log.iter().map(|event| (event.id, event.stream.as_str(), event.version)).collect();
        let wanted = [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 4), ("a", 5), ("b", 2), ("b", 3)];
        let wanted: Vec<_> =
            (1..).zip(wanted).map(|(position, (name, version))| (position, name, Some(version))).collect();
        let numbered = log.iter().all(|event| event.version.is_some());
        ensure!(numbered, "every event of these streams is numbered: {found:?}");
        ensure_eq!(found, wanted, "positions, streams and versions");
        ensure_eq!(world.events.head().await?, 8, "the head");
        Ok(())
    }

    /// An append answers with the version and the positions it got, in the order of its batch.
    #[breaks_on(GapInPositions, WrongVersions, ShuffledAnswers)]
    async fn an_append_answers_where_it_is(world: &World) -> Checked {
        world.events.append(&[several("a", 1).expecting(0)]).await?;
        let answers = world.events.append(&[several("a", 2), several("b", 4).expecting(0)]).await?;
        let found: Vec<_> = answers.iter().map(|answer| (answer.version, answer.duplicate)).collect();
        ensure_eq!(found, [(Some(3), false), (Some(4), false)], "the answers");
        ensure!(placed(&answers[0], 2, 3) && placed(&answers[1], 4, 7), "their positions: {answers:?}");
        let positions: Vec<_> = world.log("*").await?.iter().map(|event| event.id).collect();
        ensure_eq!(positions, (1..=7).collect::<Vec<u64>>(), "positions in the log");
        Ok(())
    }

    /// Events are read as they were appended.
    #[breaks_on(BareEvents)]
    async fn an_event_is_read_as_it_was_appended(world: &World) -> Checked {
        let data = json!({ "text": "grüße \u{1F980}", "deep": [null, { "a": 1.5 }] });
        let new = crate::NewEvent { data: data.clone(), ..event("step.completed") }.run("run-1", "checkout").step(
            "pay",
            "run-1__pay__attempt-2",
            2,
        );
        world.events.append(&[Append::one(stream("nq:flow:run-1"), new)]).await?;
        let event = world.log("*").await?.remove(0);
        ensure_eq!((event.stream.as_str(), &*event.kind), ("nq:flow:run-1", "step.completed"), "stream and type");
        ensure_eq!(event.data, data, "data");
        ensure_eq!(event.ts, world.now().await?, "time");
        ensure_eq!((event.run_id.as_deref(), event.flow_name.as_deref()), (Some("run-1"), Some("checkout")), "run");
        let step = (event.step_name.as_deref(), event.step_id.as_deref(), event.attempt);
        ensure_eq!(step, (Some("pay"), Some("run-1__pay__attempt-2"), Some(2)), "step");
        Ok(())
    }

    /// A batch is written whole or not at all, whichever append is refused.
    #[breaks_on(PartialBatch, BlindExpected)]
    async fn a_batch_is_written_whole_or_not_at_all(world: &World) -> Checked {
        let conflict = several("b", 1).expecting(5);
        let answer = world.events.append(&[several("a", 2), conflict, several("c", 1)]).await;
        ensure_matches!(answer, Err(Error::VersionConflict { .. }), "a batch with a conflict");
        let nul = Append::one(stream("b"), crate::NewEvent { data: json!("\0"), ..event("e") });
        let answer = world.events.append(&[several("a", 2), nul]).await;
        ensure_matches!(answer, Err(Error::Invalid { .. }), "a batch with NUL");
        ensure_eq!(world.events.head().await?, 0, "events written");
        let next = world.events.append(&[several("a", 1)]).await?;
        ensure!(placed(&next[0], 1, 1), "the next append: {next:?}");
        ensure_eq!(world.events.head().await?, 1, "the head after it");
        Ok(())
    }

    /// An append is written whole or not at all, whichever of its events is refused; whole, it stands together.
    #[breaks_on(PartialBatch)]
    async fn an_append_is_written_whole_or_not_at_all(world: &World) -> Checked {
        let ten = |bad: &str| {
            let data = |n: usize| if n == 4 { json!(bad) } else { json!("x".repeat(100_000)) };
            let events = (0..10).map(|n| crate::NewEvent { data: data(n), ..event("e") }).collect();
            Append { events, ..Append::one(stream("grüße \u{1F980}"), event("e")) }
        };
        let answer = world.events.append(&[ten("a\0b")]).await;
        ensure_matches!(answer, Err(Error::Invalid { .. }), "an append whose fifth event has NUL");
        ensure_eq!(world.events.head().await?, 0, "events written");
        world.events.append(&[ten("fine").expecting(0)]).await?;
        let log = world.log("grüße*").await?;
        let found: Vec<_> = log.iter().map(|event| (event.id, event.version)).collect();
        ensure_eq!(found, (1..=10).map(|n| (n, Some(n))).collect::<Vec<_>>(), "positions and versions");
        ensure_eq!((&log[4].data, &log[9].data), (&json!("fine"), &json!("x".repeat(100_000))), "their data");
        Ok(())
    }

    /// The error says which append of the batch was refused.
    #[breaks_on(NamelessErrors)]
    async fn the_error_names_the_append_that_was_refused(world: &World) -> Checked {
        let batch = [several("a", 1), several("b", 0)];
        let error = world.events.append(&batch).await.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(error.contains("append[1]"), "the error names `append[1]`: {error}");
        Ok(())
    }

    /// An append that expects a version succeeds at that version only, and is told the actual one.
    #[breaks_on(BlindExpected)]
    async fn an_expected_version_is_compared(world: &World) -> Checked {
        let conflict = |answer: crate::Result<Vec<Appended>>| match answer {
            Err(Error::VersionConflict { stream, expected, actual }) => Some((stream.to_string(), expected, actual)),
            _ => None,
        };
        let appending = |count, expected| [several("a", count).expecting(expected)];
        ensure_eq!(conflict(world.events.append(&appending(1, 1)).await), Some(("a".into(), 1, 0)), "1 of none");
        ensure_eq!(world.events.append(&appending(2, 0)).await?[0].version, Some(2), "0 of none");
        ensure_eq!(conflict(world.events.append(&appending(1, 0)).await), Some(("a".into(), 0, 2)), "0 of 2");
        ensure_eq!(conflict(world.events.append(&appending(1, 3)).await), Some(("a".into(), 3, 2)), "3 of 2");
        ensure_eq!(world.events.append(&appending(1, 2)).await?[0].version, Some(3), "2 of 2");
        world.append("b", "e").await?;
        ensure_eq!(
            conflict(world.events.append(&[several("b", 1).expecting(0)]).await),
            Some(("b".into(), 0, 1)),
            "0 of a stream that was begun without an expectation"
        );
        Ok(())
    }

    /// Of many that expect the same version at once, one wins.
    #[breaks_on(BlindExpected)]
    async fn one_of_many_racing_expectations_wins(world: &World) -> Checked {
        let second = world.second().await?;
        for version in 0..5 {
            let mut racing = tokio::task::JoinSet::new();
            for n in 0..6 {
                let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
                racing.spawn(async move { handle.events.append(&[several("s", 1).expecting(version)]).await });
            }
            let mut won = 0;
            while let Some(answer) = racing.join_next().await {
                match answer.map_err(Failure::new)? {
                    Ok(_) => won += 1,
                    Err(Error::VersionConflict { actual, .. }) => ensure_eq!(actual, version + 1, "the actual version"),
                    Err(other) => return Err(other.into()),
                }
            }
            ensure_eq!(won, 1, "winners of version {version}");
        }
        Ok(())
    }

    /// A second append under a key answers with the first one's place, and writes nothing, whatever it holds.
    #[breaks_on(ForgottenKey)]
    async fn a_used_key_answers_with_the_first(world: &World) -> Checked {
        world.append("x", "e").await?;
        let first = world.events.append(&[several("a", 2).key("k")]).await?.remove(0);
        ensure!(!first.duplicate && placed(&first, 2, 3), "the first: {first:?}");
        world.append("a", "e").await?;
        let wanted = Appended { duplicate: true, ..first };
        for again in [several("a", 2), several("a", 1), several("a", 2).expecting(0)] {
            ensure_eq!(world.events.append(&[again.key("k")]).await?, vec![wanted.clone()], "a second under the key");
        }
        ensure_eq!(world.events.head().await?, 4, "the head");
        let both = [several("b", 1).key("k2"), several("b", 1).key("k2")];
        let answers = world.events.append(&both).await?;
        let duplicates: Vec<_> = answers.iter().map(|answer| answer.duplicate).collect();
        ensure_eq!(duplicates, [false, true], "two under one key in one batch");
        ensure_eq!(world.events.head().await?, 5, "the head after them");
        Ok(())
    }

    /// Of many that append under one key at once, one writes, and all get its place.
    #[breaks_on(ForgottenKey)]
    async fn one_of_many_racing_keys_writes(world: &World) -> Checked {
        let second = world.second().await?;
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..8 {
            let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
            racing.spawn(async move { handle.events.append(&[several("s", 2).key("k")]).await });
        }
        let mut answers = Vec::new();
        while let Some(answer) = racing.join_next().await {
            answers.extend(answer.map_err(Failure::new)??);
        }
        ensure_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1, "appends that wrote");
        ensure!(answers.iter().all(|answer| placed(answer, 1, 2)), "one place for all: {answers:?}");
        ensure_eq!(world.events.head().await?, 2, "the head");
        Ok(())
    }

    /// What a stream was numbered, and what was written under a key, is known when retention has taken the events.
    #[breaks_on(BlindExpected, ForgottenKey)]
    #[needs(Truncation)]
    async fn versions_and_keys_outlive_their_events(world: &World) -> Checked {
        for version in 0..3 {
            let one = Append::one(stream("s"), event("e")).expecting(version);
            world.events.append(&[one]).await?;
        }
        let keyed = Append::one(stream("t"), event("e")).key("k");
        world.events.append(std::slice::from_ref(&keyed)).await?;
        world.append("last", "e").await?;
        ensure_eq!(world.events.head().await?, 5, "the log");
        world.truncate(5).await?;
        ensure_eq!(world.log("*").await?.len(), 1, "events that are left");
        let again = world.events.append(&[keyed]).await?;
        ensure!(again[0].duplicate, "a repeat under a key whose events are gone");
        for stale in [0, 1] {
            let one = Append::one(stream("s"), event("e")).expecting(stale);
            let answer = world.events.append(&[one]).await;
            ensure_matches!(answer, Err(Error::VersionConflict { actual: 3, .. }), "expecting {stale}");
        }
        let next = world.events.append(&[Append::one(stream("s"), event("e")).expecting(3)]).await?;
        ensure_eq!(next[0].version, Some(4), "the next version");
        ensure_eq!(world.events.head().await?, 6, "the log");
        Ok(())
    }

    /// However many append at once, no event is lost or doubled, positions and versions stay dense, and what was
    /// appended together stays together.
    #[breaks_on(GapInPositions, WrongVersions, SkippedEvent, DoubleEvent)]
    async fn racing_appends_stay_dense(world: &World) -> Checked {
        let second = world.second().await?;
        let begun: Vec<_> = ["s0", "s1", "s2"].map(|name| several(name, 2).expecting(0)).into();
        world.events.append(&begun).await?;
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..8_usize {
            let handle = if n.is_multiple_of(2) { (**world).clone() } else { second.clone() };
            racing.spawn(async move {
                for round in 0..10 {
                    let kind = format!("{n}.{round}");
                    let events = vec![event(&kind), event(&kind)];
                    let append = Append { events, ..Append::one(stream(&format!("s{}", n % 3)), event(&kind)) };
                    handle.events.append(&[append]).await?;
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(done) = racing.join_next().await {
            done.map_err(Failure::new)??;
        }
        let log = world.log("*").await?;
        let positions: Vec<_> = log.iter().map(|event| event.id).collect();
        ensure_eq!(positions, (1..=166).collect::<Vec<u64>>(), "positions");
        let kinds: HashSet<_> = log.iter().map(|event| event.kind.clone()).collect();
        ensure_eq!(kinds.len(), 81, "kinds of appends found");
        ensure!(log.chunks(2).all(|pair| pair[0].kind == pair[1].kind), "what was appended together stays together");
        for name in ["s0", "s1", "s2"] {
            let versions: Vec<_> = world.log(name).await?.iter().filter_map(|event| event.version).collect();
            ensure_eq!(versions, (1..=versions.len() as u64).collect::<Vec<u64>>(), "versions of {name}");
        }
        Ok(())
    }
}
