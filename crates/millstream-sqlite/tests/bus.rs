//! The bus over a real store.

mod world;

use millstream_core::{
    Append, Bus, EventQuery, EventStore, JobStore, NewEvent, Outcome, Pattern, QueueProvider, StreamName,
};
use serde_json::json;
use tokio::task::JoinSet;
use world::*;

#[tokio::test]
async fn what_is_published_is_in_the_log_in_the_order_it_is_heard() {
    let world = World::new();
    let store = world.open().await;
    let bus = Bus::new(store.clone());
    let mut listener = bus.listen(Pattern::All);
    let mut publishing = JoinSet::new();
    for n in 0..8 {
        let bus = bus.clone();
        publishing.spawn(async move {
            for round in 0..20 {
                let event = NewEvent::new(format!("{n}.{round}"), json!(null));
                bus.publish(&[Append::one(StreamName::new(format!("s{n}")).unwrap(), event)]).await.unwrap();
            }
        });
    }
    let mut heard = Vec::new();
    while heard.len() < 160 {
        let event = soon(listener.next()).await.unwrap();
        heard.push((event.position, event.stream.clone(), event.event.kind.clone()));
    }
    while let Some(published) = publishing.join_next().await {
        published.unwrap();
    }
    let log = store.query(&EventQuery { limit: 1_000, ..EventQuery::of(Pattern::All) }).await.unwrap();
    let stored: Vec<_> = log.iter().map(|event| (Some(event.id), event.stream.clone(), event.kind.clone())).collect();
    assert_eq!(heard, stored);
}

#[tokio::test]
async fn what_happens_to_jobs_is_heard_and_not_stored() {
    let world = World::new();
    let store = world.open().await;
    let bus = Bus::new(store.clone());
    let mut listener = bus.listen(Pattern::new("nq:queue:*").unwrap());
    bus.carry(&*store, &queue("mail")).await.unwrap();
    store.enqueue(&[job("mail")]).await.unwrap();
    let claimed = claim(&store, "mail", 1).await.remove(0);
    store.settle(&[settlement(&claimed.claim, Outcome::Done(json!(7)))]).await.unwrap();
    for kind in ["job.waiting", "job.active", "job.completed"] {
        let heard = soon(listener.next()).await.unwrap();
        assert_eq!((&*heard.event.kind, heard.stream.as_str(), heard.position), (kind, "nq:queue:mail", None));
    }
    assert_eq!(store.head().await.unwrap(), 0);
}
