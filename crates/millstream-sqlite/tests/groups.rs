//! Group commit: who waits while a write is in flight shares the next one, and shares nothing else.

mod world;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use millstream_core::{Append, Error, EventStore, JobStore, NewEvent, QueueProvider, StreamName};
use rusqlite::Connection;
use serde_json::json;
use world::*;

/// Holds the write lock, as another process in the middle of its transaction does.
fn lock(world: &World) -> Connection {
    let other = Connection::open(world.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

fn poll_once(future: std::pin::Pin<&mut impl Future>) {
    let _ = future.poll(&mut Context::from_waker(Waker::noop()));
}

#[tokio::test]
async fn calls_that_wait_together_share_a_commit() {
    let world = World::new();
    let store = world.open().await;
    let before = store.commits();
    let other = lock(&world);
    let mut calls: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            Box::pin(async move { store.enqueue(&[job("mail")]).await.unwrap() })
        })
        .collect();
    calls.iter_mut().for_each(|call| poll_once(call.as_mut()));
    other.execute_batch("COMMIT").unwrap();
    for call in calls {
        assert!(call.await[0].is_created());
    }
    let commits = store.commits() - before;
    assert!(commits <= 2, "the first alone, the others together; but it took {commits}");
    assert_eq!(store.counts(&queue("mail")).await.unwrap().waiting, 100);
}

#[tokio::test]
async fn a_refused_call_fails_no_neighbour_and_leaves_no_hole() {
    let world = World::new();
    let store = world.open().await;
    let append = |stream: &str| Append::one(StreamName::new(stream).unwrap(), NewEvent::new("t", json!(1)));
    let (first, refused, last) = ([append("a")], [append("b"), append("a").expecting(7)], [append("b").expecting(0)]);
    let other = lock(&world);
    let (mut first, mut refused, mut last) =
        (pin!(store.append(&first)), pin!(store.append(&refused)), pin!(store.append(&last)));
    poll_once(first.as_mut());
    poll_once(refused.as_mut());
    poll_once(last.as_mut());
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(first.await.unwrap()[0].positions, Some((1, 1)));
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, Error::VersionConflict { expected: 7, actual: 1, .. }), "{refused:?}");
    assert_eq!(last.await.unwrap()[0].positions, Some((2, 2)));
    assert_eq!(store.head().await.unwrap(), 2);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_still_happens() {
    let world = World::new();
    let store = world.open().await;
    {
        let jobs = [job("mail")];
        let mut dropped = pin!(store.enqueue(&jobs));
        poll_once(dropped.as_mut());
    }
    store.enqueue(&[job("mail")]).await.unwrap();
    assert_eq!(store.counts(&queue("mail")).await.unwrap().waiting, 2);
}

#[tokio::test]
async fn an_idle_poll_writes_nothing() {
    let world = World::new();
    let store = world.open().await;
    store.enqueue(&[job("mail").delay(Duration::from_secs(60))]).await.unwrap();
    let before = store.commits();
    // Nothing of this may want the write lock: it would wait for ever.
    let _other = lock(&world);
    assert!(claim(&store, "mail", 10).await.is_empty());
    assert_eq!(store.rescue().await.unwrap(), 0);
    assert!(store.promote_due().await.unwrap().is_some());
    assert_eq!(store.fire_schedules().await.unwrap(), None);
    assert_eq!(store.commits(), before);
}

/// A job that shares its transaction with a promotion must not compare itself with what was promoted away.
#[tokio::test]
async fn an_earlier_due_time_in_a_group_still_wakes() {
    let world = World::new();
    let store = world.open().await;
    let delayed = |name, secs| [job(name).delay(Duration::from_secs(secs))];
    store.enqueue(&delayed("other", 5)).await.unwrap();
    world.clock.advance(Duration::from_secs(5));

    let (alone, first, second) = ([job("other")], delayed("mail", 30), delayed("mail", 10));
    let other = lock(&world);
    // The thread takes the first call alone, and waits for the lock; the others become one group.
    let mut alone = pin!(store.enqueue(&alone));
    let (mut first, mut promote, mut second) =
        (pin!(store.enqueue(&first)), pin!(store.promote_due()), pin!(store.enqueue(&second)));
    poll_once(alone.as_mut());
    poll_once(first.as_mut());
    poll_once(promote.as_mut());
    poll_once(second.as_mut());
    let queues = [queue("mail")];
    let mut wait = pin!(store.wait(&queues));
    poll_once(wait.as_mut());
    other.execute_batch("COMMIT").unwrap();
    assert!(soon(promote).await.unwrap().is_some());
    assert!(soon(second).await.unwrap()[0].is_created());
    soon(wait).await;
}

#[tokio::test]
async fn a_beat_overtakes_what_waits_in_memory() {
    let world = World::new();
    let store = world.memory();
    store.enqueue(&[named("mail", "a")]).await.unwrap();
    let held = claim(&store, "mail", 1).await.remove(0).claim;
    assert_eq!(store.beat(&[held]).await.unwrap(), []);
}
