//! Data that this store can never have written: named, and in nobody's way.

mod world;

use std::time::Duration;

use millstream_core::{
    Append, Error, EventStore, JobState, JobStore, NewEvent, Outcome, Pattern, QueueProvider, StartFrom, StreamName,
    Verdict,
};
use rusqlite::Connection;
use serde_json::json;
use world::*;

#[tokio::test]
async fn a_damaged_job_does_not_block_its_queue() {
    let world = World::new();
    let store = world.open().await;
    store.enqueue(&[named("mail", "bad"), named("mail", "good")]).await.unwrap();
    let other = Connection::open(world.path()).unwrap();
    other.execute("UPDATE job SET data = '{' WHERE job = 'bad'", []).unwrap();

    let claimed = claim(&store, "mail", 10).await;
    assert_eq!(claimed.iter().map(|one| one.claim.job.as_str()).collect::<Vec<_>>(), ["good"]);
    let counts = store.counts(&queue("mail")).await.unwrap();
    assert_eq!((counts.waiting, counts.active, counts.failed), (0, 1, 1));

    let read = store.job(&queue("mail"), &"bad".try_into().unwrap()).await.unwrap_err();
    assert!(matches!(read, Error::Corrupt { table: "job", column: "data", .. }), "{read:?}");
    other.execute("UPDATE job SET data = '{}' WHERE job = 'bad'", []).unwrap();
    let bad = store.job(&queue("mail"), &"bad".try_into().unwrap()).await.unwrap().unwrap();
    let error = bad.error.unwrap()["message"].as_str().unwrap().to_owned();
    assert!(error.starts_with("impossible data in job.data, row 1: "), "{error}");
    assert_eq!(bad.state, JobState::Failed);
}

#[tokio::test]
async fn damaged_settings_do_not_keep_a_job_from_ending() {
    let world = World::new();
    let store = world.open().await;
    store.enqueue(&[named("mail", "a")]).await.unwrap();
    let held = claim(&store, "mail", 1).await.remove(0).claim;
    Connection::open(world.path()).unwrap().execute("UPDATE job SET settings = '[]'", []).unwrap();
    let verdicts = store.settle(&[settlement(&held, Outcome::Done(json!(1)))]).await.unwrap();
    assert!(matches!(verdicts[0], Verdict::Settled(JobState::Completed)));
}

#[tokio::test]
async fn a_lapsed_claim_is_lost_before_anybody_rescues_it() {
    let world = World::new();
    let store = world.memory();
    store.enqueue(&[named("mail", "a")]).await.unwrap();
    let held = claim(&store, "mail", 1).await.remove(0).claim;
    world.clock.advance(store.lease() - Duration::from_millis(1));
    assert_eq!(store.beat(std::slice::from_ref(&held)).await.unwrap(), []);
    world.clock.advance(store.lease());
    let verdicts = store.settle(&[settlement(&held, Outcome::Done(json!(1)))]).await.unwrap();
    assert!(matches!(verdicts[0], Verdict::LostClaim));
    assert_eq!(store.rescue().await.unwrap(), 1);
}

#[tokio::test]
async fn a_log_that_lost_its_beginning_or_its_end_says_so() {
    let world = World::new();
    let store = world.open().await;
    let event = Append::one(StreamName::new("s").unwrap(), NewEvent::new("t", json!(1)));
    store.append(&vec![event; 5]).await.unwrap();
    Connection::open(world.path()).unwrap().execute("DELETE FROM queue_events WHERE id <= 2", []).unwrap();

    let from = async |position| store.subscribe(&Pattern::All, StartFrom::After(position)).await;
    assert!(matches!(from(1).await, Err(Error::Truncated { requested: 1, first: 3 })));
    assert!(matches!(from(6).await, Err(Error::LogWentBack { requested: 6, head: 5 })));
    assert_eq!(next(&mut from(2).await.unwrap()).await.unwrap().unwrap().id, 3);
    let mut all = store.subscribe(&Pattern::All, StartFrom::Start).await.unwrap();
    assert_eq!(next(&mut all).await.unwrap().unwrap().id, 3);
}

/// Retention may take everything; positions still go on.
#[tokio::test]
async fn an_emptied_log_goes_on_numbering() {
    let world = World::new();
    let store = world.open().await;
    let event = Append::one(StreamName::new("s").unwrap(), NewEvent::new("t", json!(1)));
    store.append(std::slice::from_ref(&event)).await.unwrap();
    Connection::open(world.path()).unwrap().execute("DELETE FROM queue_events", []).unwrap();
    assert_eq!(store.append(&[event]).await.unwrap()[0].positions, Some((2, 2)));
}
