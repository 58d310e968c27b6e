//! Appends beside other people's transactions: conditions, keys and locks.

use millstream_core::{Append, Error, EventStore, Store};
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;

use crate::{
    log::{Log, Ours, Reader, ask, event, run, until},
    world,
};

fn actual(answer: millstream_core::Result<Vec<millstream_core::Appended>>) -> Option<u64> {
    match answer {
        Err(Error::VersionConflict { actual, .. }) => Some(actual),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Somebody waits for a stream's lock, or for a key.
const WAITING: &str = "select count(*) from pg_locks where not granted and locktype in ('advisory', 'transactionid')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_exists_is_no_new_one() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "begun").await;
        ours.store.append(&[event("numbered", "e").expecting(0)]).await.unwrap();
        ours.store.append(&[event("in log", "e")]).await.unwrap();
        ours.store.head().await.unwrap();
        ours.hold_sequencer().await;
        run(&ours.client, &ours.append("in inbox", "e")).await;
        assert_eq!(ours.ask("select count(*) from {schema}.queue_event_inbox").await, 1);
        for stream in ["numbered", "in log", "in inbox"] {
            assert_eq!(actual(ours.store.append(&[event(stream, "e").expecting(0)]).await), Some(1), "{stream}");
        }
        ours.release_sequencer().await;

        // One that a plain append is just beginning.
        for (ends, wanted) in [("commit", Some(1)), ("rollback", None)] {
            let (other, _other) = world::connect(&database.url()).await;
            run(&other, "begin").await;
            run(&other, &ours.append(ends, "e")).await;
            let store = ours.store.clone();
            let mut appending = JoinSet::new();
            appending.spawn(async move { store.append(&[event(ends, "e").expecting(0)]).await });
            until(&ours.client, WAITING).await;
            run(&other, ends).await;
            assert_eq!(actual(appending.join_next().await.unwrap().unwrap()), wanted, "{ends}");
        }
        ours.close().await;
    }
}

/// A limit that is stated: the count of a stream is kept from its first condition on. Before, there is what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streams_first_condition_counts_what_retention_left() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "counted").await;
        for stream in ["late", "late", "early"] {
            ours.store.append(&[event(stream, "e")]).await.unwrap();
        }
        ours.store.append(&[event("early", "e").expecting(1)]).await.unwrap();
        ours.store.append(&[event("late", "e")]).await.unwrap();
        assert_eq!(ours.store.head().await.unwrap(), 5);
        ours.run("update {schema}.event_head set first_pos = 5; delete from {schema}.queue_events where id < 5").await;
        assert_eq!(actual(ours.store.append(&[event("late", "e").expecting(3)]).await), Some(1));
        assert_eq!(actual(ours.store.append(&[event("early", "e").expecting(0)]).await), Some(2));
        let next = ours.store.append(&[event("late", "e").expecting(1)]).await.unwrap();
        assert_eq!(next[0].version, Some(2), "numbered from here on");
        ours.close().await;
    }
}

/// At every isolation level, an append under a condition that no longer holds is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_holds_at_every_isolation_level() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "levels").await;
        let (other, _other) = world::connect(&database.url()).await;
        for level in ["read committed", "repeatable read", "serializable"] {
            let numbered = level.replace(' ', "-");
            ours.store.append(&[event(&numbered, "1").expecting(0)]).await.unwrap();
            let begin = format!("begin isolation level {level}; select * from levels.event_head");
            let expecting = |stream: &str, version: u32| {
                format!("select version from levels.append('{stream}', '[{{\"type\": \"late\"}}]', {version})")
            };

            run(&other, &begin).await;
            ours.store.append(&[event(&numbered, "2").expecting(1)]).await.unwrap();
            let refused = other.query(&expecting(&numbered, 1), &[]).await.unwrap_err();
            let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::from_code("MS409")];
            assert!(codes.contains(refused.code().unwrap()), "{level}, numbered: {refused:?}");
            run(&other, "rollback").await;

            // A stream that somebody else begins without a condition leaves nothing to collide with.
            let plain = format!("plain-{numbered}");
            run(&other, &begin).await;
            ours.store.append(&[event(&plain, "1")]).await.unwrap();
            let refused = other.query(&expecting(&plain, 0), &[]).await.unwrap_err();
            let codes = [SqlState::INVALID_TRANSACTION_STATE, SqlState::from_code("MS409")];
            assert!(codes.contains(refused.code().unwrap()), "{level}, plain: {refused:?}");
            run(&other, "rollback").await;

            // A plain append to a stream that somebody else just numbered is numbered too, or refused.
            let made = format!("made-{numbered}");
            run(&other, &begin).await;
            ours.store.append(&[event(&made, "1").expecting(0)]).await.unwrap();
            match other.batch_execute(&ours.append(&made, "2")).await {
                Ok(()) => run(&other, "commit").await,
                Err(refused) => {
                    assert_eq!(refused.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{level}, made");
                    run(&other, "rollback").await;
                }
            }
            assert!(ours.log().await.iter().all(|event| event.stream.as_str() != made || event.version.is_some()));
            run(&other, &format!("{begin}; commit")).await;
        }
        let late = ours.marks().await.iter().filter(|mark| *mark == "late").count();
        assert_eq!(late, 0);
        ours.close().await;
    }
}

/// A key belongs to whoever commits it; who comes second waits, and then has the first one's answer, or writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_belongs_to_whoever_commits() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "keys").await;
        for (ends, duplicate) in [("rollback", false), ("commit", true)] {
            let (first, _first) = world::connect(&database.url()).await;
            run(&first, "begin").await;
            run(&first, &format!("select * from keys.append('s', '[{{\"type\": \"first\"}}]', null, '{ends}')")).await;
            let store = ours.store.clone();
            let mut appending = JoinSet::new();
            appending.spawn(async move { store.append(&[event("s", "second").key(ends)]).await });
            until(&ours.client, WAITING).await;
            run(&first, ends).await;
            let answer = appending.join_next().await.unwrap().unwrap().unwrap();
            assert_eq!(answer[0].duplicate, duplicate, "{ends}");
        }
        assert_eq!(ours.marks().await, ["second", "first"]);

        // The events are gone some day; their key is not.
        ours.run("delete from {schema}.queue_events where id <= 2; update {schema}.event_head set first_pos = 3").await;
        assert!(ours.store.append(&[event("s", "third").key("commit")]).await.unwrap()[0].duplicate);
        assert_eq!(ours.marks().await, [""; 0]);
        ours.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rolled_back_to_a_savepoint_is_not_delivered() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "savepoints").await;
        let mut reader = ours.reader().await;
        run(&ours.client, "begin; savepoint before").await;
        run(&ours.client, &ours.append("s", "undone")).await;
        run(&ours.client, "rollback to before").await;
        run(&ours.client, &ours.append("s", "done")).await;
        run(&ours.client, "commit").await;
        assert_eq!(reader.until("done").await, ["done"]);
        assert_eq!(ours.marks().await, ["done"]);
        ours.close().await;
    }
}

/// Batches over the same streams in opposite orders: the locks have one order, so nobody waits in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opposite_orders_do_not_deadlock() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "orders").await;
        let second = ours.another().await;
        let begun: Vec<Append> = ["a", "b", "c"].map(|stream| event(stream, "begun").expecting(0)).into();
        ours.store.append(&begun).await.unwrap();
        let mut racing = JoinSet::new();
        for (place, store) in
            [ours.store.clone(), second.clone(), ours.store.clone(), second.clone()].into_iter().enumerate()
        {
            racing.spawn(async move {
                for round in 0..40 {
                    let key = |stream: &str| format!("{place}.{round}.{stream}");
                    let mut batch: Vec<Append> =
                        ["a", "b", "c"].map(|stream| event(stream, "e").key(key(stream))).into();
                    if place % 2 == 1 {
                        batch.reverse();
                    }
                    store.append(&batch).await.unwrap();
                    batch.iter_mut().for_each(|append| append.key = None);
                    store.append(&batch).await.unwrap();
                }
            });
        }
        while let Some(raced) = racing.join_next().await {
            raced.unwrap();
        }
        assert_eq!(ours.marks().await.len(), 3 + 4 * 40 * 2 * 3);
        second.close().await.unwrap();
        let Ours { store, client, .. } = &ours;
        store.close().await.unwrap();
        // Sessions tell their figures when they end.
        until(
            client,
            "select (count(*) = 1)::integer::bigint from pg_stat_activity where datname = current_database()",
        )
        .await;
        let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
        assert_eq!(ask(client, deadlocks).await, 0);
    }
}

/// Keys in opposite orders do wait in a circle; the store tries again, and each key is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_opposite_orders_are_written_once() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "circles").await;
        let second = ours.another().await;
        let mut racing = JoinSet::new();
        for (place, store) in [ours.store.clone(), second.clone()].into_iter().enumerate() {
            racing.spawn(async move {
                for round in 0..20 {
                    let mut batch: Vec<Append> =
                        (0..4).map(|n| event(&format!("s{n}"), "e").key(format!("{round}.{n}"))).collect();
                    if place == 1 {
                        batch.reverse();
                    }
                    store.append(&batch).await.unwrap();
                }
            });
        }
        while let Some(raced) = racing.join_next().await {
            raced.unwrap();
        }
        assert_eq!(ours.marks().await.len(), 20 * 4);
        second.close().await.unwrap();
        ours.close().await;
    }
}
