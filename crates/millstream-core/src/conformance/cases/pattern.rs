//! Which streams: compared with what Rust means by `starts_with`.

use std::collections::BTreeSet;

use crate::{
    Append, Entropy, Error, EventQuery, Pattern, StateOp, StreamName,
    conformance::{
        case::{Checked, cases, ensure_eq, ensure_matches},
        world::{World, event, pattern, stream},
    },
    limits::PAGE_ROWS_MAX,
};

/// What trips naive patterns: LIKE's own signs, case, combining and astral characters, the greatest character.
const LETTERS: [&str; 14] =
    ["a", "A", "_", "%", "\\", ":", "-", "é", "e\u{301}", "ß", "\u{1F980}", "\u{10FFFF}", "'", "["];

fn word(world: &World, letters_max: u64) -> String {
    let length = 1 + world.entropy.next_u64() % letters_max;
    (0..length).map(|_| LETTERS[(world.entropy.next_u64() % LETTERS.len() as u64) as usize]).collect()
}

async fn streams_of(world: &World, pattern: &Pattern) -> Checked<BTreeSet<String>> {
    let query = EventQuery { limit: PAGE_ROWS_MAX, ..EventQuery::of(pattern.clone()) };
    Ok(world.events.query(&query).await?.into_iter().map(|event| event.stream.to_string()).collect())
}

cases! {
    /// `_`, `%` and `\` are ordinary characters.
    #[breaks_on(LikePattern)]
    async fn signs_of_like_are_ordinary(world: &World) -> Checked {
        for name in ["a_b", "aXb", "a_b1", "aXb1", "100%", "100 percent", "c\\d", "cd", "A_B"] {
            world.append(name, "e").await?;
        }
        let found = async |text| streams_of(world, &pattern(text)).await;
        ensure_eq!(found("a_b").await?, BTreeSet::from(["a_b".into()]), "one stream");
        ensure_eq!(found("a_*").await?, BTreeSet::from(["a_b".into(), "a_b1".into()]), "a prefix");
        ensure_eq!(found("100%*").await?, BTreeSet::from(["100%".into()]), "a percent sign");
        ensure_eq!(found("c\\*").await?, BTreeSet::from(["c\\d".into()]), "a backslash");
        Ok(())
    }

    /// Every pattern finds the streams that Rust's own comparison finds.
    #[breaks_on(LikePattern)]
    async fn patterns_agree_with_starts_with(world: &World) -> Checked {
        let names: BTreeSet<String> = (0..150).map(|_| word(world, 5)).collect();
        let batch: Vec<Append> = names.iter().map(|name| Append::one(stream(name), event("e"))).collect();
        world.events.append(&batch).await?;
        for round in 0..120 {
            let text = word(world, 3);
            let pattern = if round % 4 == 0 { Pattern::Exact(stream(&text)) } else { Pattern::Prefix(text.into()) };
            let wanted: BTreeSet<String> = names.iter().filter(|name| pattern.matches(name)).cloned().collect();
            ensure_eq!(streams_of(world, &pattern).await?, wanted, "the streams of `{pattern}`");
        }
        ensure_eq!(streams_of(world, &Pattern::All).await?, names, "every stream");
        Ok(())
    }

    /// The bytes of a prefix may end within a range of characters; the longest name is found.
    #[breaks_on(LikePattern)]
    async fn the_longest_names_are_found(world: &World) -> Checked {
        let longest = "_".repeat(255);
        let other = format!("{}x", "_".repeat(254));
        world.append(&longest, "e").await?;
        world.append(&other, "e").await?;
        let exact = Pattern::Exact(StreamName::new(longest.as_str())?);
        ensure_eq!(streams_of(world, &exact).await?, BTreeSet::from([longest.clone()]), "the longest name");
        let prefix = Pattern::Prefix(longest.as_str().into());
        ensure_eq!(streams_of(world, &prefix).await?, BTreeSet::from([longest]), "the longest prefix");
        Ok(())
    }

    /// Every stream can be asked for by its name, with spaces too, and none has a `*`: that is a pattern.
    #[breaks_on(LikePattern)]
    async fn every_stream_has_a_name_to_ask_for(world: &World) -> Checked {
        let names = ["a b", " a", "a ", "a_ b", "%", "a:b/c", "a"];
        for name in names {
            world.append(name, "e").await?;
        }
        for name in names {
            ensure_eq!(streams_of(world, &pattern(name)).await?, BTreeSet::from([name.into()]), "streams of `{name}`");
        }
        for name in ["*", "a*", "*a", "a*b"] {
            ensure_matches!(StreamName::new(name), Err(Error::Invalid { .. }), "the stream name `{name}`");
        }
        Ok(())
    }

    /// Keys of run state are found by the bytes they begin with, sorted.
    #[breaks_on(LikePattern, UnsortedKeys)]
    async fn state_keys_agree_with_starts_with(world: &World) -> Checked {
        let keys: BTreeSet<String> = (0..80).map(|_| word(world, 4)).collect();
        let ops: Vec<StateOp> =
            keys.iter().map(|key| StateOp::Set { key: key.as_str().into(), value: 1.into(), ttl: None }).collect();
        world.state.apply(&ops).await?;
        for _ in 0..60 {
            let prefix = word(world, 2);
            let found: Vec<String> = world.state.list(&prefix, 1000).await?.iter().map(|key| key.to_string()).collect();
            let wanted: Vec<String> = keys.iter().filter(|key| key.starts_with(&prefix)).cloned().collect();
            ensure_eq!(found, wanted, "the keys that begin with `{prefix}`");
        }
        Ok(())
    }
}
