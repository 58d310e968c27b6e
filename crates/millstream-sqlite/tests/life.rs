//! The life of a job and an event, end to end, on a file and in memory.

mod world;

use millstream_core::{
    Append, Effects, EventQuery, EventStore, JobState, JobStore, NewEvent, Outcome, Pattern, QueueProvider, Settlement,
    StateOp, StateStore, Store, StreamName, Verdict,
};
use millstream_sqlite::SqliteStore;
use serde_json::json;
use world::*;

async fn a_life(store: &SqliteStore) {
    let mail = queue("mail");
    let created = store.enqueue(&[named("mail", "a"), job("mail").priority(-1), named("mail", "a")]).await.unwrap();
    assert_eq!(created.iter().map(|one| one.is_created()).collect::<Vec<_>>(), [true, true, false]);

    let claimed = claim(store, "mail", 10).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(claimed[1].claim.job.as_str(), "a", "the smaller priority runs first");
    assert_eq!(claimed[0].attempt, 1);
    assert_eq!(store.counts(&mail).await.unwrap().active, 2);

    let effects = Effects {
        append: vec![Append::one(StreamName::new("s").unwrap(), NewEvent::new("done", json!({ "by": "a" })))],
        enqueue: vec![named("next", "b")],
        state: vec![StateOp::Set { key: "k".into(), value: json!(1), ttl: None }],
        runs: Vec::new(),
    };
    let done = Settlement { claim: claimed[1].claim.clone(), outcome: Outcome::Done(json!({ "ok": true })), effects };
    let retry = settlement(&claimed[0].claim, Outcome::Retry { error: json!("no"), after: None });
    let again = done.clone();
    let verdicts = store.settle(&[done, retry, again]).await.unwrap();
    assert!(matches!(verdicts[0], Verdict::Settled(JobState::Completed)), "{verdicts:?}");
    assert!(matches!(verdicts[1], Verdict::Settled(JobState::Delayed)), "{verdicts:?}");
    assert!(matches!(verdicts[2], Verdict::LostClaim), "{verdicts:?}");

    let a = store.job(&mail, &"a".try_into().unwrap()).await.unwrap().unwrap();
    assert_eq!((a.state, a.output), (JobState::Completed, Some(json!({ "ok": true }))));
    assert_eq!(store.counts(&queue("next")).await.unwrap().waiting, 1);
    assert_eq!(store.get("k").await.unwrap(), Some(json!(1)));
    let events = store.query(&EventQuery::of(Pattern::All)).await.unwrap();
    assert_eq!((events.len(), events[0].id, events[0].version), (1, 1, Some(1)));
    let counts = store.counts(&mail).await.unwrap();
    assert_eq!((counts.completed, counts.delayed, counts.active), (1, 1, 0));
    assert!(store.promote_due().await.unwrap().is_some());
}

#[tokio::test]
async fn a_life_in_memory() {
    let world = World::new();
    let store = world.memory();
    a_life(&store).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_life_in_a_file() {
    let world = World::new();
    let store = world.open().await;
    a_life(&store).await;
    store.close().await.unwrap();
}
