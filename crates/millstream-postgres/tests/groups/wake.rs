//! Signals are hints, but none is missed: with polls that never come, every event reaches its handler all the same.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    ConsumerName, Effects, EventOf, EventStore, GroupConsumer, GroupOptions, Groups, Store, StoreOptions, Stores,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    consumer::{events, spec},
    world,
};

/// Nothing here takes so long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what must not be needed.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
/// Beats, by which members see each other.
const LEASE: Duration = Duration::from_secs(3);

/// A consumer that tells the positions it is handed.
async fn join(store: &PostgresStore, name: &str, told: &mpsc::UnboundedSender<u64>) -> GroupConsumer {
    let options = GroupOptions { poll: NEVER, ..GroupOptions::default() };
    let groups = Groups::new(Stores::of(Arc::new(store.clone())), options).unwrap();
    let told = told.clone();
    let run = move |batch: Vec<EventOf<Value>>, _| {
        for event in &batch {
            // Nobody counts any more: the test is over.
            let _ = told.send(event.id);
        }
        async { Ok(Effects::default()) }
    };
    groups.consume_batch(spec(LEASE, 8), ConsumerName::new(name).unwrap(), run).await.unwrap()
}

/// Waits until they share the partitions.
async fn spread(consumers: &[GroupConsumer], share: u16) {
    let waiting = async {
        while consumers.iter().any(|consumer| consumer.partitions() != share) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("partitions are shared");
}

async fn next(handled: &mut mpsc::UnboundedReceiver<u64>, what: &str) -> u64 {
    tokio::time::timeout(PATIENCE, handled.recv()).await.unwrap_or_else(|_| panic!("{what} was missed")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_waits_for_a_poll() {
    for (version, database) in world::databases() {
        let options = PostgresOptions::new(database.url());
        let store = PostgresStore::connect(options.clone(), StoreOptions::default()).await.unwrap();
        let other = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
        let (told, mut handled) = mpsc::unbounded_channel();
        let consumers = [join(&store, "a", &told).await, join(&other, "b", &told).await];
        spread(&consumers, 4).await;
        for round in 0..400 {
            // By this process or the other, alone or in a burst that is numbered in several passes.
            let by = if round % 2 == 0 { &store } else { &other };
            let count = if round % 5 == 0 { 7 } else { 1 };
            for event in events(5, round, count) {
                by.append(&[event]).await.unwrap();
            }
            for _ in 0..count {
                next(&mut handled, &format!("an event of round {round} on {version}")).await;
            }
        }
        for consumer in &consumers {
            consumer.unsubscribe().await.unwrap();
        }
        store.close().await.unwrap();
        other.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_numbers_is_told_where_nobody_is_notified() {
    for (version, database) in world::databases() {
        let options = PostgresOptions { notify: false, ..PostgresOptions::new(database.url()) };
        let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
        let (client, _driver) = world::connect(&database.url()).await;
        let (told, mut handled) = mpsc::unbounded_channel();
        let consumer = join(&store, "a", &told).await;
        spread(std::slice::from_ref(&consumer), 8).await;
        for round in 1..=20 {
            // In somebody else's transaction: this process does not hear of it, until it looks.
            client.batch_execute("select millstream.append('in:s', '[{\"type\": \"e\", \"data\": 1}]')").await.unwrap();
            assert_eq!(store.head().await.unwrap(), round);
            assert_eq!(next(&mut handled, &format!("event {round} on {version}")).await, round);
        }
        consumer.unsubscribe().await.unwrap();
        store.close().await.unwrap();
    }
}
