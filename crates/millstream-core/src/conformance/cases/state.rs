//! Run state: values by key.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    StateOp,
    conformance::{
        case::{Failure, cases, ensure, ensure_eq, ensure_matches},
        world::secs,
    },
};

fn set(key: &str, value: Value) -> StateOp {
    StateOp::Set { key: key.into(), value, ttl: None }
}

fn lasting(key: &str, ttl: Duration) -> StateOp {
    StateOp::Set { key: key.into(), value: json!(1), ttl: Some(ttl) }
}

fn delete(key: &str) -> StateOp {
    StateOp::Delete { key: key.into() }
}

cases! {
    /// A value is what was written last, in every process; a deleted one is missing.
    #[breaks_on(StaleState)]
    async fn a_value_is_what_was_written_last(world: &World) -> Checked {
        let second = world.second().await?;
        ensure_eq!(world.state.get("k").await?, None, "before");
        for value in [json!({ "a": [1, null] }), json!("grüße"), Value::Null, json!(false)] {
            world.state.apply(&[set("k", value.clone())]).await?;
            ensure_eq!(world.state.get("k").await?, Some(value.clone()), "here");
            ensure_eq!(second.state.get("k").await?, Some(value), "in another process");
        }
        second.state.apply(&[delete("k"), delete("never was")]).await?;
        ensure_eq!(world.state.get("k").await?, None, "after");
        Ok(())
    }

    /// The operations of a batch happen in order, all or none.
    #[breaks_on(PartialBatch)]
    async fn a_batch_happens_in_order_or_not_at_all(world: &World) -> Checked {
        world.state.apply(&[set("a", json!(1)), set("a", json!(2)), set("b", json!(1)), delete("b")]).await?;
        ensure_eq!(world.state.get("a").await?, Some(json!(2)), "the last write");
        ensure_eq!(world.state.get("b").await?, None, "the last delete");
        let answer = world.state.apply(&[set("a", json!(3)), set("bad", json!("\0"))]).await;
        ensure_matches!(answer, Err(crate::Error::Invalid { .. }), "a batch with NUL");
        ensure_eq!(world.state.get("a").await?, Some(json!(2)), "after a refused batch");
        Ok(())
    }

    /// A value with a time to live is missing after it, everywhere one looks, and a sweep removes it.
    #[breaks_on(EternalState)]
    #[needs(Calm)]
    async fn a_value_expires(world: &World) -> Checked {
        world.state.apply(&[lasting("k", secs(10)), set("stays", json!(1))]).await?;
        world.advance(secs(9)).await?;
        ensure_eq!(world.state.get("k").await?, Some(json!(1)), "before its time");
        world.advance(secs(2)).await?;
        ensure_eq!(world.state.get("k").await?, None, "after its time");
        let keys: Vec<_> = world.state.list("", 10).await?.iter().map(|key| key.to_string()).collect();
        ensure_eq!(keys, ["stays"], "keys listed");
        ensure!(!world.state.swap("k", Some(&json!(1)), Some(&json!(2))).await?, "an expired value is not compared");
        ensure_eq!(world.jobs.sweep().await?, 1, "rows of a sweep");
        Ok(())
    }

    /// A write sets the time to live anew, or ends it.
    #[breaks_on(EternalState)]
    async fn a_write_sets_the_time_to_live_anew(world: &World) -> Checked {
        world.state.apply(&[lasting("renewed", secs(10)), lasting("freed", secs(10)), set("bound", json!(1))]).await?;
        world.advance(secs(8)).await?;
        world.state.apply(&[lasting("renewed", secs(10)), set("freed", json!(2)), lasting("bound", secs(1))]).await?;
        world.advance(secs(5)).await?;
        ensure_eq!(world.state.get("renewed").await?, Some(json!(1)), "a renewed value");
        ensure_eq!(world.state.get("freed").await?, Some(json!(2)), "a value without its time to live");
        ensure_eq!(world.state.get("bound").await?, None, "a value that got a time to live");
        world.advance(secs(100)).await?;
        ensure_eq!(world.state.get("renewed").await?, None, "a renewed value after its time");
        ensure_eq!(world.state.get("freed").await?, Some(json!(2)), "a value without its time to live, later");
        Ok(())
    }

    /// Keys are listed sorted, by their beginning, and no more than asked for.
    #[breaks_on(UnsortedKeys)]
    async fn keys_are_listed_sorted(world: &World) -> Checked {
        let ops: Vec<_> = ["b:2", "a:1", "b:1", "b:10", "B:1", "c"].map(|key| set(key, json!(1))).into();
        world.state.apply(&ops).await?;
        let list = async |prefix: &str, limit| -> crate::Result<Vec<String>> {
            Ok(world.state.list(prefix, limit).await?.iter().map(|key| key.to_string()).collect())
        };
        ensure_eq!(list("b:", 10).await?, ["b:1", "b:10", "b:2"], "those of a beginning");
        ensure_eq!(list("", 10).await?, ["B:1", "a:1", "b:1", "b:10", "b:2", "c"], "all of them");
        ensure_eq!(list("", 2).await?, ["B:1", "a:1"], "the first two");
        ensure_eq!(list("d", 10).await?, Vec::<String>::new(), "none");
        Ok(())
    }

    /// A swap writes only over the value it names: a missing one, too.
    #[breaks_on(SwapAlways)]
    async fn a_swap_compares(world: &World) -> Checked {
        let (one, two) = (json!({ "n": 1, "b": [1] }), json!(2));
        ensure!(!world.state.swap("k", Some(&one), Some(&two)).await?, "a missing value is not `one`");
        ensure!(world.state.swap("k", None, Some(&one)).await?, "it is missing");
        ensure!(!world.state.swap("k", None, Some(&two)).await?, "it is not missing any more");
        ensure!(!world.state.swap("k", Some(&two), None).await?, "it is not `two`");
        ensure_eq!(world.state.get("k").await?, Some(one.clone()), "the value");
        let other_order: Value = serde_json::from_str(r#"{ "b": [1], "n": 1 }"#).map_err(Failure::from)?;
        ensure!(world.state.swap("k", Some(&other_order), Some(&two)).await?, "equal is equal, however written");
        ensure!(world.state.swap("k", Some(&two), None).await?, "it is `two`");
        ensure_eq!(world.state.get("k").await?, None, "the value at the end");
        Ok(())
    }

    /// A value that was swapped in has no time to live.
    #[breaks_on(StaleState)]
    async fn a_swapped_value_stays(world: &World) -> Checked {
        world.state.apply(&[lasting("k", secs(10))]).await?;
        ensure_eq!(world.state.get("k").await?, Some(json!(1)), "before the swap");
        ensure!(world.state.swap("k", Some(&json!(1)), Some(&json!(2))).await?, "it is 1");
        world.advance(secs(100)).await?;
        ensure_eq!(world.state.get("k").await?, Some(json!(2)), "the value, later");
        Ok(())
    }

    /// Of many that swap at once, one wins each round.
    #[breaks_on(SwapAlways)]
    async fn one_of_many_racing_swaps_wins(world: &World) -> Checked {
        let second = world.second().await?;
        for round in 0..5 {
            let mut racing = tokio::task::JoinSet::new();
            for n in 0..6 {
                let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
                let old = (round > 0).then(|| json!(round));
                racing.spawn(async move { handle.state.swap("k", old.as_ref(), Some(&json!(round + 1))).await });
            }
            let mut won = 0;
            while let Some(answer) = racing.join_next().await {
                won += u32::from(answer.map_err(Failure::new)??);
            }
            ensure_eq!(won, 1, "winners of round {round}");
        }
        Ok(())
    }
}
