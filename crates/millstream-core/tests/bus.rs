//! The bus: what is heard, in which order, and what becomes of calls while the store is slow or down.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use millstream_core::{
    Append, Appended, BoxStream, Bus, BusListener, Capabilities, Error, Event, EventQuery, EventStore, NewEvent,
    Pattern, Realm, Result, StartFrom, Store, StreamName,
    limits::{BUS_CALLS, SUBSCRIBE_BUFFER},
};
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

/// What must come may take this long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A log in memory whose appends wait to be let through, or fail.
struct Gated {
    realm: Realm,
    gate: Semaphore,
    asked: AtomicBool,
    down: AtomicBool,
    /// The types of each append that was written.
    written: Mutex<Vec<Vec<String>>>,
}

#[async_trait]
impl Store for Gated {
    fn kind(&self) -> &'static str {
        "gated"
    }

    fn realm(&self) -> &Realm {
        &self.realm
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn sweep(&self) -> Result<u64> {
        Ok(0)
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl EventStore for Gated {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        self.asked.store(true, Ordering::Relaxed);
        self.gate.acquire().await.expect("the gate stays").forget();
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::unavailable("gated", "append", std::io::Error::other("down")));
        }
        let kinds: Vec<String> =
            batch.iter().flat_map(|append| &append.events).map(|event| event.kind.to_string()).collect();
        if kinds.iter().any(|kind| kind == "bad") {
            return Err(Error::invalid("append[0]", "bad", "good"));
        }
        let mut written = self.written.lock().unwrap();
        let mut last = written.iter().map(Vec::len).sum::<usize>() as u64;
        let appended = batch.iter().map(|append| {
            let first = last + 1;
            last += append.events.len() as u64;
            let duplicate = append.key.as_deref() == Some("used");
            Appended { version: None, positions: Some((first, last)), duplicate }
        });
        let appended = appended.collect();
        written.push(kinds);
        Ok(appended)
    }

    async fn query(&self, _query: &EventQuery) -> Result<Vec<Event>> {
        Err(Error::Unsupported { store: "gated", what: "queries" })
    }

    async fn subscribe(&self, _pattern: &Pattern, _from: StartFrom) -> Result<BoxStream<Result<Event>>> {
        Err(Error::Unsupported { store: "gated", what: "subscriptions" })
    }

    async fn head(&self) -> Result<u64> {
        Ok(0)
    }
}

impl Gated {
    /// `permits` appends are let through at once.
    fn new(permits: usize) -> Arc<Self> {
        let realm = Realm::new("gated");
        let (gate, written) = (Semaphore::new(permits), Mutex::default());
        Arc::new(Self { realm, gate, asked: AtomicBool::new(false), down: AtomicBool::new(false), written })
    }

    fn written(&self) -> Vec<Vec<String>> {
        self.written.lock().unwrap().clone()
    }
}

fn event(kind: &str) -> Append {
    Append::one(StreamName::new("s").unwrap(), NewEvent::new(kind, json!(1)))
}

async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.expect("it comes")
}

/// What a listener hears next, as type and position.
async fn hears(listener: &mut BusListener, count: usize) -> Vec<(String, Option<u64>)> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let event = soon(listener.next()).await.expect("the bus is there");
        heard.push((event.event.kind.to_string(), event.position));
    }
    heard
}

/// Whether nothing is there to be heard.
fn is_quiet(listener: &mut BusListener) -> bool {
    let next = pin!(listener.next());
    next.poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending
}

fn publishing(bus: &Bus, calls: &mut JoinSet<Result<Vec<Appended>>>, append: Append) {
    let bus = bus.clone();
    calls.spawn(async move { bus.publish(&[append]).await });
}

#[tokio::test]
async fn what_is_published_is_stored_then_heard_in_order() {
    let store = Gated::new(100);
    let bus = Bus::new(store.clone());
    let (mut all, mut other) = (bus.listen(Pattern::All), bus.listen(Pattern::new("other").unwrap()));
    let appended = bus.publish(&[event("a"), event("b")]).await.unwrap();
    assert_eq!(appended[1].positions, Some((2, 2)));
    bus.publish(&[event("repeat").key("used")]).await.unwrap();
    bus.publish(&[event("c").expecting(3)]).await.unwrap();
    let wanted = [("a".to_owned(), Some(1)), ("b".to_owned(), Some(2)), ("c".to_owned(), Some(4))];
    assert_eq!(hears(&mut all, 3).await, wanted);
    assert!(is_quiet(&mut all) && is_quiet(&mut other));
}

#[tokio::test]
async fn calls_that_wait_travel_together() {
    let store = Gated::new(0);
    let bus = Bus::new(store.clone());
    let mut listener = bus.listen(Pattern::All);
    let mut calls = JoinSet::new();
    publishing(&bus, &mut calls, event("first"));
    // It stands at the gate before the others come.
    while !store.asked.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    for n in 0..5 {
        publishing(&bus, &mut calls, event(&n.to_string()));
    }
    publishing(&bus, &mut calls, event("alone").expecting(6));
    for n in 5..8 {
        publishing(&bus, &mut calls, event(&n.to_string()));
    }
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    store.gate.add_permits(10);
    while let Some(answer) = soon(calls.join_next()).await {
        answer.unwrap().unwrap();
    }
    let wanted = [vec!["first"], vec!["0", "1", "2", "3", "4"], vec!["alone"], vec!["5", "6", "7"]];
    assert_eq!(store.written(), wanted);
    let heard = hears(&mut listener, 10).await;
    assert!(heard.iter().map(|(_, position)| *position).eq((1..=10).map(Some)), "{heard:?}");
}

#[tokio::test]
async fn a_call_that_is_refused_spoils_no_other() {
    let store = Gated::new(0);
    let bus = Bus::new(store.clone());
    let mut listener = bus.listen(Pattern::All);
    let mut calls = JoinSet::new();
    for kind in ["first", "good", "bad", "fine"] {
        publishing(&bus, &mut calls, event(kind));
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
    }
    store.gate.add_permits(100);
    let mut refused = 0;
    while let Some(answer) = soon(calls.join_next()).await {
        match answer.unwrap() {
            Ok(appended) => assert_eq!(appended.len(), 1),
            Err(Error::Invalid { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 1);
    let heard: Vec<String> = hears(&mut listener, 3).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(heard, ["first", "good", "fine"]);
    assert!(is_quiet(&mut listener));
}

#[tokio::test]
async fn a_listener_that_does_not_read_holds_up_publishers_and_loses_nothing() {
    let store = Gated::new(Semaphore::MAX_PERMITS);
    let bus = Bus::new(store.clone());
    let mut listener = bus.listen(Pattern::All);
    let total = SUBSCRIBE_BUFFER + 2 * BUS_CALLS + 50;
    let mut calls = JoinSet::new();
    let publisher = bus.clone();
    calls.spawn(async move {
        for n in 0..total {
            publisher.publish(&[event(&n.to_string())]).await?;
        }
        Ok::<_, Error>(())
    });
    // As far as it gets: a buffer full, and the one that does not fit.
    while store.written().len() < SUBSCRIBE_BUFFER + 1 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.written().len(), SUBSCRIBE_BUFFER + 1);
    let heard = hears(&mut listener, total).await;
    assert!(heard.iter().enumerate().all(|(n, (kind, _))| *kind == n.to_string()), "in order");
    soon(calls.join_next()).await.unwrap().unwrap().unwrap();

    // One that is dropped holds up nobody.
    drop(listener);
    for n in 0..2 * SUBSCRIBE_BUFFER {
        soon(bus.publish(&[event(&n.to_string())])).await.unwrap();
    }
}

#[tokio::test]
async fn calls_that_wait_are_bounded() {
    let store = Gated::new(0);
    let bus = Bus::new(store.clone());
    let mut calls = JoinSet::new();
    for n in 0..3 * BUS_CALLS {
        publishing(&bus, &mut calls, event(&n.to_string()));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(bus.waiting() <= BUS_CALLS, "{} calls wait", bus.waiting());
    store.gate.add_permits(Semaphore::MAX_PERMITS);
    while let Some(answer) = soon(calls.join_next()).await {
        answer.unwrap().unwrap();
    }
    let written: usize = store.written().iter().map(Vec::len).sum();
    assert_eq!(written, 3 * BUS_CALLS);
    assert!(store.written().len() < 20, "{} appends", store.written().len());
}

#[tokio::test]
async fn while_the_store_is_down_calls_fail_and_nobody_hears() {
    let store = Gated::new(Semaphore::MAX_PERMITS);
    let bus = Bus::new(store.clone());
    let mut listener = bus.listen(Pattern::All);
    store.down.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let error = bus.publish(&[event("lost")]).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    store.down.store(false, Ordering::Relaxed);
    bus.publish(&[event("again")]).await.unwrap();
    assert_eq!(hears(&mut listener, 1).await, [("again".to_owned(), Some(1))]);
    assert!(is_quiet(&mut listener));
}

#[tokio::test]
async fn a_call_that_is_given_up_is_carried_out() {
    let store = Gated::new(0);
    let bus = Bus::new(store.clone());
    let mut listener = bus.listen(Pattern::All);
    let mut calls = JoinSet::new();
    for kind in ["a", "b"] {
        publishing(&bus, &mut calls, event(kind));
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
    }
    calls.shutdown().await;
    drop(bus);
    store.gate.add_permits(10);
    assert_eq!(hears(&mut listener, 2).await, [("a".to_owned(), Some(1)), ("b".to_owned(), Some(2))]);
    assert!(soon(listener.next()).await.is_none(), "the bus is gone");
}
