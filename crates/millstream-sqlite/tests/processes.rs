//! Several handles on one file, as several processes have them: they share nothing but the file.

mod world;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use millstream_core::{
    Append, EventStore, JobStore, NewEvent, Outcome, Pattern, QueueEventKind, QueueProvider, Signal, Signals,
    StartFrom, StoreOptions, StreamName, Verdict, Wake,
};
use millstream_sqlite::SqliteStore;
use serde_json::json;
use world::*;

/// Registers a wait, as the worker runtime does: polled once, before it looks.
macro_rules! waiting {
    ($wait:ident, $store:expr, $queue:expr) => {
        let queues = [queue($queue)];
        let mut $wait = pin!($store.wait(&queues));
        let registered = $wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(registered, Poll::Pending);
    };
}

#[tokio::test]
async fn a_job_of_one_wakes_the_other() {
    let world = World::new();
    let (ours, theirs) = (world.open().await, world.open().await);
    waiting!(wait, ours, "mail");
    theirs.enqueue(&[job("mail")]).await.unwrap();
    assert_eq!(soon(wait).await, Wake::Work);
    assert_eq!(claim(&ours, "mail", 1).await.len(), 1);
}

#[tokio::test]
async fn an_earlier_due_time_of_one_wakes_the_other() {
    let world = World::new();
    let (ours, theirs) = (world.open().await, world.open().await);
    theirs.enqueue(&[job("mail").delay(Duration::from_secs(60))]).await.unwrap();
    waiting!(wait, ours, "mail");
    theirs.enqueue(&[job("mail").delay(Duration::from_secs(90))]).await.unwrap();
    theirs.enqueue(&[job("mail").delay(Duration::from_secs(30))]).await.unwrap();
    assert_eq!(soon(wait).await, Wake::Work);
}

#[tokio::test]
async fn a_cancel_of_one_reaches_the_holder_in_the_other() {
    let world = World::new();
    let (ours, theirs) = (world.open().await, world.open().await);
    ours.enqueue(&[named("mail", "a")]).await.unwrap();
    let held = claim(&ours, "mail", 1).await.remove(0).claim;
    waiting!(wait, ours, "mail");
    assert!(theirs.cancel(&queue("mail"), &held.job).await.unwrap());
    assert_eq!(soon(wait).await, Wake::Beat);
    assert_eq!(ours.beat(std::slice::from_ref(&held)).await.unwrap(), [(held.clone(), Signal::Cancel)]);

    assert!(theirs.remove(&queue("mail"), &held.job).await.unwrap());
    assert_eq!(ours.beat(std::slice::from_ref(&held)).await.unwrap(), [(held.clone(), Signal::Lost)]);
    let late = ours.settle(&[settlement(&held, Outcome::Done(json!(1)))]).await.unwrap();
    assert!(matches!(late[0], Verdict::LostClaim));
}

#[tokio::test]
async fn a_watcher_sees_what_happens_in_the_other() {
    let world = World::new();
    let (ours, theirs) = (world.open().await, world.open().await);
    let mut watch = ours.watch(&queue("mail")).await.unwrap();
    assert_eq!(ours.queues().await.unwrap(), [], "watching a queue does not begin it");
    theirs.enqueue(&[named("mail", "a"), job("post")]).await.unwrap();
    let held = claim(&theirs, "mail", 1).await.remove(0).claim;
    theirs.settle(&[settlement(&held, Outcome::Done(json!({ "ok": true })))]).await.unwrap();
    for (kind, attempt, data) in [
        (QueueEventKind::Waiting, None, None),
        (QueueEventKind::Active, Some(1), None),
        (QueueEventKind::Completed, Some(1), Some(json!({ "ok": true }))),
    ] {
        let event = next(&mut watch).await.unwrap();
        assert_eq!((event.kind, event.attempt, event.data), (kind, attempt, data));
        assert_eq!(event.job.unwrap().as_str(), "a");
    }
}

#[tokio::test]
async fn a_subscriber_is_woken_by_the_other() {
    let world = World::new();
    // A poll that never comes: only the signal can wake.
    let options = StoreOptions { poll: Duration::from_secs(3600), ..world.options() };
    let ours = SqliteStore::open(world.path(), options).await.unwrap();
    follows(&ours, &*world.open().await).await;
}

#[tokio::test]
async fn a_muted_subscriber_polls() {
    let world = World::new();
    let options = StoreOptions { signals: Signals::Muted, poll: Duration::from_millis(5), ..world.options() };
    let ours = SqliteStore::open(world.path(), options).await.unwrap();
    follows(&ours, &*world.open().await).await;
}

/// Backfill, then live, from another handle.
async fn follows(ours: &SqliteStore, theirs: &SqliteStore) {
    let append = |n: u64| Append::one(StreamName::new(format!("s:{}", n % 3)).unwrap(), NewEvent::new("t", json!(n)));
    theirs.append(&(1..=600).map(append).collect::<Vec<_>>()).await.unwrap();
    let mut events = ours.subscribe(&Pattern::new("s:*").unwrap(), StartFrom::Start).await.unwrap();
    for n in 1..=600 {
        assert_eq!(next(&mut events).await.unwrap().unwrap().id, n);
    }
    let other = Append::one(StreamName::new("elsewhere").unwrap(), NewEvent::new("t", json!(0)));
    for n in 0..5 {
        let live = async { theirs.append(&[other.clone(), append(n)]).await.unwrap() };
        let (event, _) = tokio::join!(next(&mut events), live);
        assert_eq!(event.unwrap().unwrap().id, 602 + 2 * n);
    }
}

#[tokio::test]
async fn two_take_every_job_once() {
    let world = World::new();
    let (ours, theirs) = (world.open().await, world.open().await);
    ours.enqueue(&vec![job("mail"); 300]).await.unwrap();
    async fn drain(store: &SqliteStore) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let claimed = claim(store, "mail", 7).await;
            if claimed.is_empty() {
                return ids;
            }
            ids.extend(claimed.iter().map(|one| one.claim.job.to_string()));
            let done: Vec<_> = claimed.iter().map(|one| settlement(&one.claim, Outcome::Done(json!(null)))).collect();
            let verdicts = store.settle(&done).await.unwrap();
            assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Settled(_))));
        }
    }
    let (mut ids, more) = tokio::join!(drain(&ours), drain(&theirs));
    ids.extend(more);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    assert_eq!(theirs.counts(&queue("mail")).await.unwrap().completed, 300);
}
