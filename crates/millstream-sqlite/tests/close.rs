//! How a store ends.

mod world;

use std::{
    pin::pin,
    task::{Context, Waker},
};

use millstream_core::{Error, EventStore, JobStore, Pattern, QueueProvider, StartFrom, StateStore, Store, Wake};
use rusqlite::Connection;
use world::*;

#[tokio::test]
async fn what_was_taken_in_is_written_before_the_end() {
    let world = World::new();
    let store = world.open().await;
    let other = Connection::open(world.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let jobs = [job("mail")];
    let mut pending = pin!(store.enqueue(&jobs));
    let mut closing = pin!(store.close());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pending.as_mut().poll(&mut cx).is_pending());
    assert!(closing.as_mut().poll(&mut cx).is_pending());
    other.execute_batch("COMMIT").unwrap();
    assert!(soon(pending).await.unwrap()[0].is_created());
    soon(closing).await.unwrap();

    let store = world.open().await;
    assert_eq!(store.counts(&queue("mail")).await.unwrap().waiting, 1);
}

#[tokio::test]
async fn a_closed_store_says_so_and_closes_again() {
    let world = World::new();
    for store in [world.open().await, world.memory()] {
        let copy = (*store).clone();
        store.close().await.unwrap();
        copy.close().await.unwrap();
        assert!(matches!(copy.enqueue(&[job("mail")]).await, Err(Error::Closed { .. })));
        assert!(matches!(copy.get("k").await, Err(Error::Closed { .. })));
        assert!(matches!(copy.beat(&[]).await, Ok(held) if held.is_empty()));
        assert!(matches!(copy.watch(&queue("mail")).await, Err(Error::Closed { .. })));
    }
}

#[tokio::test]
async fn closing_ends_waits_watches_and_subscriptions() {
    let world = World::new();
    for store in [world.open().await, world.memory()] {
        let mut watch = store.watch(&queue("mail")).await.unwrap();
        let mut events = store.subscribe(&Pattern::All, StartFrom::Now).await.unwrap();
        let queues = [queue("mail")];
        let closing = async { store.close().await.unwrap() };
        let (wake, watched, event, ()) =
            tokio::join!(soon(store.wait(&queues)), next(&mut watch), next(&mut events), closing);
        assert_eq!(wake, Wake::Work);
        assert_eq!(watched, None);
        assert!(event.is_none());
    }
}

#[tokio::test]
async fn the_last_handle_ends_the_store() {
    let world = World::new();
    let store = world.open().await;
    let mut events = store.subscribe(&Pattern::All, StartFrom::Now).await.unwrap();
    let mut watch = store.watch(&queue("mail")).await.unwrap();
    drop(store);
    assert!(next(&mut events).await.is_none());
    assert!(next(&mut watch).await.is_none());
}

/// Who copies the file of a closed store has everything. SQLite leaves its log beside the file when two connections
/// close at once, and then neither thinks that it is the last: hence the rounds.
#[tokio::test]
async fn a_closed_store_is_one_file() {
    for _ in 0..100 {
        let world = World::new();
        let store = world.open().await;
        store.enqueue(&[job("mail")]).await.unwrap();
        store.close().await.unwrap();
        let files = std::fs::read_dir(world.path().parent().unwrap()).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, ["jobs.db"]);
    }
}
