//! Several hosts in one URL: one that is down, one that only reads, and one that takes over.

use std::{net::SocketAddr, time::Duration};

use millstream_core::{
    Append, Effects, EventStore, JobName, JobState, JobStore, NewEvent, NewJob, Outcome, Pattern, QueueName,
    QueueProvider, Settlement, StartFrom, Store, StoreOptions, StreamName, Verdict, Want,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{Mode, Postgres, postgres};
use serde_json::json;

#[path = "world/again.rs"]
mod again;

use again::lasting;

/// Far above what a promotion takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn q() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job() -> NewJob {
    NewJob::new(q(), JobName::new("work").unwrap(), json!(1))
}

fn event() -> Append {
    Append::one(StreamName::new("s").unwrap(), NewEvent::new("e", json!(1)))
}

/// The first server's way in, with all these hosts.
fn options(server: &Postgres, hosts: &[SocketAddr]) -> PostgresOptions {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let url = format!("postgres://postgres:{}@{}/postgres", server.password(), hosts.join(","));
    PostgresOptions::new(url + "?target_session_attrs=read-write&sslmode=disable")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_and_nothing_that_was_answered_is_lost() {
    for version in postgres::available() {
        let mut primary = Postgres::start(version).unwrap();
        let standby = primary.standby().unwrap();
        let down = "127.0.0.1:1".parse().unwrap();
        // The first host is down, the second takes no writes.
        let options = options(&primary, &[down, standby.address(), primary.address()]);
        let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
        store.enqueue(&[job(), job()]).await.unwrap();
        let claimed = store.claim(&[Want::new(q(), 1)]).await.unwrap().remove(0);
        let mut events = store.subscribe(&Pattern::All, StartFrom::Now).await.unwrap();
        store.append(&[event()]).await.unwrap();

        primary.stop(Mode::Kill).unwrap();
        let away = store.counts(&q()).await;
        assert!(away.as_ref().is_err_and(millstream_core::Error::is_transient), "nobody takes writes now: {away:?}");
        standby.query("SELECT pg_promote()").unwrap();

        let counts = lasting(async || store.counts(&q()).await).await;
        assert_eq!((counts.waiting, counts.active), (1, 1), "on {version}");
        assert_eq!(lasting(async || store.beat(std::slice::from_ref(&claimed.claim)).await).await, []);
        let done = Settlement { claim: claimed.claim, outcome: Outcome::Done(json!(2)), effects: Effects::default() };
        let verdict = lasting(async || store.settle(std::slice::from_ref(&done)).await).await.remove(0);
        assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");
        lasting(async || store.append(&[event().expecting(1)]).await).await;
        for id in 1..=2 {
            let next = std::future::poll_fn(|cx| events.as_mut().poll_next(cx));
            let next = tokio::time::timeout(PATIENCE, next).await.expect("the subscription goes on");
            assert_eq!(next.unwrap().unwrap().id, id);
        }
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_take_no_writes_are_told() {
    let version = *postgres::available().last().unwrap();
    let reads = Postgres::start_with(version, &[("default_transaction_read_only", "on")]).unwrap();
    let refused = PostgresStore::connect(options(&reads, &[reads.address()]), StoreOptions::default()).await;
    let refused = refused.unwrap_err();
    assert!(refused.is_transient() && format!("{refused:?}").contains("does not allow writes"), "{refused:?}");
}
