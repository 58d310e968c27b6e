//! Job events in the log, in the transaction that causes them.

mod world;

use millstream_core::{
    EventQuery, EventStore, JobEvents, JobStore, Outcome, Pattern, QueueProvider, StoreOptions, Verdict,
    limits::PAYLOAD_BYTES_MAX,
};
use millstream_sqlite::SqliteStore;
use serde_json::json;
use world::*;

async fn kinds(store: &SqliteStore) -> Vec<String> {
    let events = store.query(&EventQuery::of(Pattern::new("nq:queue:mail").unwrap())).await.unwrap();
    events.iter().map(|event| event.kind.to_string()).collect()
}

async fn fail_once_then_for_good(store: &SqliteStore) {
    store.enqueue(&[named("mail", "a").attempts(2)]).await.unwrap();
    for error in ["first", "second"] {
        let held = claim(store, "mail", 1).await.remove(0).claim;
        let retry = Outcome::Retry { error: json!(error), after: Some(std::time::Duration::ZERO) };
        store.settle(&[settlement(&held, retry)]).await.unwrap();
    }
}

#[tokio::test]
async fn all_is_a_replayable_log() {
    let world = World::new();
    let store = SqliteStore::memory(StoreOptions { job_events: JobEvents::All, ..world.options() }).unwrap();
    fail_once_then_for_good(&store).await;
    assert_eq!(kinds(&store).await, ["job.waiting", "job.active", "job.waiting", "job.active", "job.failed"]);
    let events = store.query(&EventQuery::of(Pattern::All)).await.unwrap();
    let last = &events.last().unwrap().data;
    assert_eq!((&last["job"], &last["attempt"], &last["data"]), (&json!("a"), &json!(2), &json!("second")));
}

#[tokio::test]
async fn failures_are_what_somebody_must_look_at() {
    let world = World::new();
    let store = SqliteStore::memory(StoreOptions { job_events: JobEvents::Failures, ..world.options() }).unwrap();
    fail_once_then_for_good(&store).await;
    store.enqueue(&[job("mail")]).await.unwrap();
    claim(&store, "mail", 1).await;
    world.clock.advance(store.lease());
    store.rescue().await.unwrap();
    assert_eq!(kinds(&store).await, ["job.failed", "job.stalled"]);
}

#[tokio::test]
async fn an_output_that_just_fits_a_job_is_left_out_of_the_log() {
    let world = World::new();
    let store = SqliteStore::memory(StoreOptions { job_events: JobEvents::All, ..world.options() }).unwrap();
    store.enqueue(&[job("mail")]).await.unwrap();
    let held = claim(&store, "mail", 1).await.remove(0).claim;
    let output = json!("x".repeat(PAYLOAD_BYTES_MAX - 2));
    let verdicts = store.settle(&[settlement(&held, Outcome::Done(output))]).await.unwrap();
    assert!(matches!(verdicts[0], Verdict::Settled(_)), "{verdicts:?}");
    let events = store.query(&EventQuery::of(Pattern::All)).await.unwrap();
    assert_eq!(events.last().unwrap().data["data"], json!("too large for the log"));
}

#[tokio::test]
async fn off_is_silent() {
    let world = World::new();
    let store = world.memory();
    fail_once_then_for_good(&store).await;
    assert!(kinds(&store).await.is_empty());
}
