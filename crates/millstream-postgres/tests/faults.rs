//! Servers that restart, and poolers in between.

use std::time::Duration;

use millstream_core::{
    Append, Effects, EventStore, JobName, JobState, JobStore, NewEvent, NewJob, Outcome, Pattern, QueueName,
    QueueProvider, Result, Settlement, StartFrom, Store, StoreOptions, StreamName, Verdict, Want,
};
use millstream_postgres::{PostgresOptions, PostgresStore, schema};
use millstream_servers::{Mode, Pgbouncer, Postgres, postgres};
use serde_json::json;

mod world;

const PATIENCE: Duration = Duration::from_secs(30);

fn q() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job() -> NewJob {
    NewJob::new(q(), JobName::new("work").unwrap(), json!(1))
}

fn event() -> Append {
    Append::one(StreamName::new("s").unwrap(), NewEvent::new("e", json!(1)))
}

/// Calls again while the store is unavailable.
async fn lasting<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let trying = async {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("the store comes back")
}

async fn settle(store: &PostgresStore) {
    let claimed = store.claim(&[Want { queue: q(), at_most: 1 }]).await.unwrap().remove(0);
    let done = Settlement { claim: claimed.claim, outcome: Outcome::Done(json!(2)), effects: Effects::default() };
    assert!(matches!(store.settle(&[done]).await.unwrap()[0], Verdict::Settled(JobState::Completed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_outlives_a_restart_of_its_server() {
    for version in postgres::available() {
        let mut server = Postgres::start(version).unwrap();
        let options = PostgresOptions::new(server.url());
        let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
        store.enqueue(&[job()]).await.unwrap();
        let claimed = store.claim(&[Want { queue: q(), at_most: 1 }]).await.unwrap().remove(0);
        assert_eq!(store.beat(std::slice::from_ref(&claimed.claim)).await.unwrap(), []);
        let mut events = store.subscribe(&Pattern::All, StartFrom::Now).await.unwrap();

        server.restart(Mode::Immediate).unwrap();
        assert_eq!(lasting(async || store.counts(&q()).await).await.active, 1);
        assert_eq!(lasting(async || store.beat(std::slice::from_ref(&claimed.claim)).await).await, []);
        lasting(async || store.append(&[event()]).await).await;
        let next = std::future::poll_fn(|cx| events.as_mut().poll_next(cx));
        let next = tokio::time::timeout(PATIENCE, next).await.expect("the subscription goes on");
        assert_eq!(next.unwrap().unwrap().id, 1);
        let done = Settlement { claim: claimed.claim, outcome: Outcome::Done(json!(2)), effects: Effects::default() };
        let verdict = lasting(async || store.settle(std::slice::from_ref(&done)).await).await.remove(0);
        assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");

        // The listener is back, too: another process wakes this one.
        let (waits, one) = ([q()], [job()]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let other = PostgresStore::connect(PostgresOptions::new(server.url()), StoreOptions::default()).await.unwrap();
        let (woken, added) = tokio::join!(tokio::time::timeout(PATIENCE, store.wait(&waits)), other.enqueue(&one));
        assert!(woken.is_ok() && added.is_ok());
        other.close().await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_works_behind_a_pooler_of_transactions() {
    let server = postgres::v15();
    let pooler = Pgbouncer::start(server).unwrap();
    let url = server.url_through(pooler.address(), "postgres");
    let options = PostgresOptions::new(url).schema("pooled");
    let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
    for _ in 0..20 {
        store.enqueue(&[job()]).await.unwrap();
        settle(&store).await;
    }
    let mut events = store.subscribe(&Pattern::All, StartFrom::Start).await.unwrap();
    store.append(&[event(), event().expecting(1)]).await.unwrap();
    for id in 1..=2 {
        let next = std::future::poll_fn(|cx| events.as_mut().poll_next(cx));
        assert_eq!(tokio::time::timeout(PATIENCE, next).await.unwrap().unwrap().unwrap().id, id);
    }
    assert_eq!(store.counts(&q()).await.unwrap().completed, 20);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_brought_up_once_and_a_newer_one_is_refused() {
    for (_, database) in world::databases() {
        let options = PostgresOptions::new(database.url());
        let before = schema::status(&options).await.unwrap();
        assert_eq!((before.found, before.pending.len() as u32), (None, before.supported));
        let text = schema::pending(&options).await.unwrap();
        assert!(text.contains("create table \"millstream\".job ("), "{text}");
        let refusing = PostgresOptions { migrate: false, ..options.clone() };
        let refused = PostgresStore::connect(refusing, StoreOptions::default()).await;
        assert!(matches!(refused, Err(millstream_core::Error::Schema { .. })), "{refused:?}");

        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let options = options.clone();
            racing.spawn(async move { schema::up(&options).await });
        }
        while let Some(up) = racing.join_next().await {
            assert!(up.unwrap().unwrap().is_current());
        }
        assert_eq!(schema::pending(&options).await.unwrap(), "");
        database.run("insert into millstream.migration (version, name) values (999, 'of tomorrow')").unwrap();
        let refused = PostgresStore::connect(options.clone(), StoreOptions::default()).await;
        assert!(matches!(refused, Err(millstream_core::Error::Schema { .. })), "{refused:?}");
        schema::remove(&options).await.unwrap();
        assert_eq!(schema::status(&options).await.unwrap().found, None);
        schema::remove(&options).await.unwrap();
    }
}
