//! Subscriptions: no gap and no double between backfill and live, with and without wake-ups.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use millstream_core::{
    Append, Clock, Entropy, Error, EventQuery, EventStore, ManualClock, Pattern, SeededEntropy, StartFrom, Store,
    StoreOptions, StreamName,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{
    Database, Pgbouncer, Postgres,
    fault::{Direction, Proxy},
};
use tokio_postgres::Client;

use crate::{
    log::{self, NEVER, Ours, POLL, Reader, ask, event, follow, run, until},
    original::Original,
    world,
};

/// A session of a store that listens.
const LISTENER: &str =
    "from pg_stat_activity where datname = current_database() and query like 'select pg_notify(%:p%'";

/// Ends the listening session of the store behind the proxy, and keeps it from coming back.
async fn deafen(proxy: &Proxy, client: &Client) {
    let listener = format!("{LISTENER} and application_name = 'behind'");
    until(client, &format!("select count(*) {listener}")).await;
    proxy.refuse().unwrap();
    run(client, &format!("select pg_terminate_backend(pid) {listener}")).await;
    until(client, &format!("select (count(*) = 0)::integer::bigint {listener}")).await;
}

/// A store whose connections go through a proxy, and another process that is not in the way of it.
async fn proxied(database: &Database, schema: &'static str, poll: Duration) -> (Ours, Proxy, PostgresStore) {
    let ours = Ours::open(&database.url(), schema).await;
    // It starts a runtime of its own.
    let proxy = tokio::task::block_in_place(|| Proxy::start(database.address())).unwrap();
    let url = database.url_through(proxy.address());
    let options = PostgresOptions::new(url).schema(schema);
    let options = PostgresOptions { application_name: "behind".to_owned(), ..options };
    let store = PostgresStore::connect(options, StoreOptions { poll, ..StoreOptions::default() }).await.unwrap();
    (ours, proxy, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_between_backfill_and_listen_comes_once() {
    for (_, database) in world::databases() {
        let (ours, proxy, store) = proxied(&database, "between", NEVER).await;
        ours.store.append(&[event("s", "before")]).await.unwrap();
        let mut reader = follow(&store, StartFrom::Start).await;
        assert_eq!(reader.until("before").await, ["before"]);
        // It has read what there is, and does not listen: what comes now is told by nobody.
        deafen(&proxy, &ours.client).await;
        ours.store.append(&[event("s", "between")]).await.unwrap();
        ours.store.head().await.unwrap();
        proxy.heal().unwrap();
        assert_eq!(reader.until("between").await, ["between"]);
        ours.store.append(&[event("s", "end")]).await.unwrap();
        assert_eq!(reader.until("end").await, ["end"]);
        store.close().await.unwrap();
        ours.close().await;

        let original = Original::open(&database.url()).await;
        let mut cursor = original.deaf().await;
        cursor.backfill().await;
        original.add("between").await;
        cursor.listen().await;
        cursor.hear().await;
        assert_eq!(cursor.marks, [""; 0], "the original misses it until the next one comes");
        original.add("next").await;
        cursor.hear().await;
        assert_eq!(cursor.marks, ["between", "next"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_between_listen_and_backfill_comes_once() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "standing").await;
        let other = ours.another().await;
        other.append(&[event("s", "before")]).await.unwrap();
        other.head().await.unwrap();
        // The backfill stands still while an event comes and is told.
        run(&ours.client, "begin; lock table standing.queue_events in access exclusive mode").await;
        let mut reader = follow(&ours.store, StartFrom::Start).await;
        until(
            &ours.client,
            "select count(*) from pg_locks where not granted and relation = 'standing.queue_events'::regclass",
        )
        .await;
        let (client, _driver) = world::connect(&database.url()).await;
        run(&client, "select standing.append('s', '[{\"type\": \"between\"}]')").await;
        run(&ours.client, "commit").await;
        other.append(&[event("s", "end")]).await.unwrap();
        assert_eq!(reader.until("end").await, ["before", "between", "end"]);
        other.close().await.unwrap();
        ours.close().await;

        let original = Original::open(&database.url()).await;
        let mut cursor = original.deaf().await;
        cursor.listen().await;
        original.add("between").await;
        cursor.backfill().await;
        cursor.hear_events().await;
        assert_eq!(cursor.marks, ["between", "between"], "the original delivers it twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_though_the_listener_was_terminated() {
    for (_, database) in world::databases() {
        let (ours, proxy, store) = proxied(&database, "terminated", POLL).await;
        let mut reader = follow(&store, StartFrom::Start).await;
        ours.store.append(&[event("s", "before")]).await.unwrap();
        assert_eq!(reader.until("before").await, ["before"]);
        deafen(&proxy, &ours.client).await;
        let marks: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        for mark in &marks {
            ours.store.append(&[event("s", mark)]).await.unwrap();
        }
        assert_eq!(reader.until("99").await, marks);
        proxy.heal().unwrap();
        store.close().await.unwrap();
        ours.close().await;

        let original = Original::open(&database.url()).await;
        let mut cursor = original.deaf().await;
        cursor.listen().await;
        let pid = cursor.pid().await;
        run(&original.client, &format!("select pg_terminate_backend({pid})")).await;
        for mark in &marks {
            original.add(mark).await;
        }
        assert!(!cursor.hear().await);
        assert_eq!(cursor.marks, [""; 0], "the original never hears of them");
    }
}

/// The listener comes back, and what nobody told meanwhile is read without a poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_comes_back_looks_at_once() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "back").await;
        let store = log::connect(&database.url(), "back", NEVER).await;
        let mut reader = follow(&store, StartFrom::Start).await;
        until(&ours.client, &format!("select (count(*) = 2)::integer::bigint {LISTENER}")).await;
        run(&ours.client, &format!("select pg_terminate_backend(pid) {LISTENER}")).await;
        for mark in ["1", "2", "3"] {
            ours.store.append(&[event("s", mark)]).await.unwrap();
        }
        assert_eq!(reader.until("3").await, ["1", "2", "3"]);
        store.close().await.unwrap();
        ours.close().await;
    }
}

/// A burst is read in batches, not event by event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_costs_few_reads() {
    for (_, database) in world::databases() {
        let (ours, proxy, store) = proxied(&database, "burst", NEVER).await;
        let mut reader = follow(&store, StartFrom::Start).await;
        let listener = format!("select count(*) {LISTENER} and application_name = 'behind'");
        until(&ours.client, &listener).await;
        let said = proxy.passed(Direction::ToServer);
        for batch in 0..100 {
            let mut appends = vec![event("s", "e"); 100];
            if batch == 99 {
                appends.push(event("s", "end"));
            }
            ours.store.append(&appends).await.unwrap();
        }
        assert_eq!(reader.until("end").await.len(), 10_001);
        let said = proxy.passed(Direction::ToServer) - said;
        assert!(said < 5_000, "{said} messages for 10,000 events");
        store.close().await.unwrap();
        ours.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_swallows_notifications_delays_and_loses_nothing() {
    let server = millstream_servers::postgres::v15();
    let pooler = Pgbouncer::start(server).unwrap();
    let database = server.create_database();
    let ours = Ours::open(&database.url(), "pooled").await;
    let store = log::connect(&database.url_through(pooler.address()), "pooled", POLL).await;
    let mut reader = follow(&store, StartFrom::Start).await;
    for round in 0..5 {
        let marks: Vec<String> = (0..10).map(|n| format!("{round}.{n}")).collect();
        for mark in &marks {
            ours.store.append(&[event("s", mark)]).await.unwrap();
        }
        assert_eq!(reader.until(&marks[9]).await, marks);
    }
    store.close().await.unwrap();
    ours.close().await;
}

/// Who does not read holds nobody up and fills no memory: at most a buffer is read ahead, and the server keeps no
/// notifications.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_pauses_reads_no_further_than_its_buffer() {
    for (_, database) in world::databases() {
        let (ours, proxy, store) = proxied(&database, "paused", NEVER).await;
        let mut reader = follow(&store, StartFrom::Start).await;
        until(&ours.client, &format!("select count(*) {LISTENER} and application_name = 'behind'")).await;
        let heard = proxy.passed(Direction::ToClient);
        for _ in 0..50 {
            ours.store.append(&vec![event("s", "e"); 100]).await.unwrap();
        }
        ours.store.append(&[event("s", "end")]).await.unwrap();
        ours.store.head().await.unwrap();
        // Each of its own calls is behind what was sent to it before.
        store.head().await.unwrap();
        let heard = proxy.passed(Direction::ToClient) - heard;
        assert!(heard < 3_000, "{heard} messages for 5,000 events that nobody reads");
        assert_eq!(ask(&ours.client, "select (pg_notification_queue_usage() * 1000)::bigint").await, 0);
        let seen = reader.until("end").await;
        assert_eq!((seen.len(), seen.iter().filter(|mark| *mark == "e").count()), (5_001, 5_000));
        store.close().await.unwrap();
        ours.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_from_now_skips_what_is_committed_and_not_numbered() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "now").await;
        ours.hold_sequencer().await;
        ours.run("select {schema}.append('s', '[{\"type\": \"before\"}]')").await;
        assert_eq!(ours.ask("select count(*) from {schema}.queue_event_inbox").await, 1);
        ours.release_sequencer().await;
        let mut reader = follow(&ours.store, StartFrom::Now).await;
        ours.store.append(&[event("s", "after")]).await.unwrap();
        assert_eq!(reader.until("after").await, ["after"]);
        ours.close().await;
    }
}

/// Times are the database's, whatever the clocks of those who append.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_from_a_time_trusts_no_clients_clock() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "clocks").await;
        let mut appended = 0;
        let mut middle = None;
        for round in 0..6 {
            if round == 3 {
                let now = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
                middle = Some(millstream_core::Timestamp::from_microsecond(ask(&ours.client, now).await).unwrap());
            }
            for hours in [-1_i64, 0, 1] {
                let clock = ManualClock::new("2026-11-21T12:00:00Z".parse().unwrap());
                let by = Duration::from_secs(hours.unsigned_abs() * 3600);
                let now = clock.now();
                let skewed = if hours < 0 { now - by } else { now + by };
                let options = StoreOptions { clock: Arc::new(ManualClock::new(skewed)), ..StoreOptions::default() };
                let postgres = PostgresOptions::new(database.url()).schema("clocks").pool_size(1);
                let store = PostgresStore::connect(postgres, options).await.unwrap();
                appended += 1;
                store.append(&[event("s", &appended.to_string())]).await.unwrap();
                store.close().await.unwrap();
            }
        }
        let middle = middle.unwrap();
        let mut reader = follow(&ours.store, StartFrom::Time(middle)).await;
        let wanted: Vec<String> = (10..=18).map(|n| n.to_string()).collect();
        assert_eq!(reader.until("18").await, wanted);
        let since = EventQuery { since: Some(middle), ..EventQuery::of(Pattern::All) };
        let found: Vec<String> =
            ours.store.query(&since).await.unwrap().iter().map(|event| event.kind.to_string()).collect();
        assert_eq!(found, wanted);
        ours.close().await;
    }
}

const LETTERS: [&str; 16] =
    ["a", "A", "b", "_", "%", "\\", ":", "-", "é", "e\u{301}", "ß", "ss", "\u{1F980}", "\u{10FFFF}", "'", " x"];

/// Whatever the database's collation, a prefix is the bytes that a name begins with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patterns_do_not_depend_on_the_collation() {
    for version in millstream_servers::postgres::available() {
        let server = Postgres::get(version).unwrap();
        let locales = [("c", "locale 'C'"), ("icu", "locale_provider icu icu_locale 'de-AT' locale 'C'")];
        for (name, locale) in locales {
            let name = format!("patterns_{name}_{}", std::process::id());
            server.query(&format!("create database {name} template template0 encoding 'UTF8' {locale}")).unwrap();
            let ours = Ours::open(&server.url_of(&name), "patterns").await;
            agree_with_starts_with(&ours).await;
            ours.close().await;
            server.query(&format!("drop database {name} with (force)")).unwrap();
        }
    }
}

async fn agree_with_starts_with(ours: &Ours) {
    let entropy = SeededEntropy::new(30);
    let word = |longest: u64| -> String {
        let length = 1 + entropy.next_u64() % longest;
        (0..length).map(|_| LETTERS[(entropy.next_u64() % LETTERS.len() as u64) as usize]).collect()
    };
    let names: BTreeSet<String> = (0..150).map(|_| word(4)).collect();
    let appends: Vec<Append> = names.iter().map(|name| event(name, "e")).collect();
    ours.store.append(&appends).await.unwrap();
    for round in 0..100 {
        let text = word(3);
        let pattern = match round % 4 {
            0 => Pattern::Exact(StreamName::new(text.as_str()).unwrap()),
            _ => Pattern::Prefix(text.into()),
        };
        let query = EventQuery { limit: 500, ..EventQuery::of(pattern.clone()) };
        let found: BTreeSet<String> =
            ours.store.query(&query).await.unwrap().iter().map(|event| event.stream.to_string()).collect();
        let wanted: BTreeSet<String> = names.iter().filter(|name| pattern.matches(name)).cloned().collect();
        assert_eq!(found, wanted, "{pattern}");
    }
}

/// A poll reads what is new, not what was since the last event that matched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rare_pattern_costs_what_is_new() {
    const ROUNDS: usize = 60;
    const EVENTS: usize = 200;
    for (_, database) in world::databases() {
        let (ours, proxy, store) = proxied(&database, "rare", NEVER).await;
        let mut stream = store.subscribe(&Pattern::Prefix("rare".into()), StartFrom::Start).await.unwrap();
        until(&ours.client, &format!("select count(*) {LISTENER} and application_name = 'behind'")).await;
        for _ in 0..ROUNDS {
            let said = proxy.passed(Direction::ToServer);
            ours.store.append(&vec![event("common", "e"); EVENTS]).await.unwrap();
            let looking = async {
                while proxy.passed(Direction::ToServer) == said {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(log::PATIENCE, looking).await.expect("the subscriber looks");
        }
        ours.store.append(&[event("rare 1", "e")]).await.unwrap();
        let next = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx));
        let found = tokio::time::timeout(log::PATIENCE, next).await.unwrap().unwrap().unwrap();
        assert_eq!(found.id, (ROUNDS * EVENTS + 1) as u64);
        drop(stream);
        store.close().await.unwrap();
        ours.store.close().await.unwrap();
        // Sessions tell their figures when they end.
        let alone = "select (count(*) = 1)::integer::bigint from pg_stat_activity where datname = current_database()";
        until(&ours.client, alone).await;
        let fetched = ask(
            &ours.client,
            "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables
             where schemaname = 'rare' and relname like 'queue_events%'",
        )
        .await;
        let appended = (ROUNDS * EVENTS) as i64;
        assert!((appended / 2..4 * appended).contains(&fetched), "{fetched} rows read of {appended}");
    }
}

/// What retention removed is never skipped in silence, not even when it goes while a subscriber reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_truncated_is_an_error() {
    const TRUNCATE: &str =
        "update {schema}.event_head set first_pos = 4; delete from {schema}.queue_events where id < 4";
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "truncated").await;
        for mark in ["1", "2", "3", "4", "5"] {
            ours.store.append(&[event("s", mark)]).await.unwrap();
        }
        ours.store.head().await.unwrap();
        // It has looked where the log begins, and is about to read.
        run(&ours.client, "begin; lock table truncated.queue_events in access exclusive mode").await;
        let pattern = Pattern::Exact(StreamName::new("s").unwrap());
        let mut reading = ours.store.subscribe(&pattern, StartFrom::Start).await.unwrap();
        until(
            &ours.client,
            "select count(*) from pg_locks where not granted and relation = 'truncated.queue_events'::regclass",
        )
        .await;
        ours.run(TRUNCATE).await;
        run(&ours.client, "commit").await;
        let next = std::future::poll_fn(|cx| reading.as_mut().poll_next(cx));
        let told = tokio::time::timeout(log::PATIENCE, next).await.unwrap();
        assert!(matches!(told, Some(Err(Error::Truncated { requested: 0, first: 4 }))), "{told:?}");

        for (from, is_there) in [(0, false), (2, false), (3, true), (4, true)] {
            let answer = ours.store.subscribe(&Pattern::All, StartFrom::After(from)).await;
            match answer {
                Ok(_) => assert!(is_there, "after {from}"),
                Err(Error::Truncated { requested, first: 4 }) => assert_eq!((requested, is_there), (from, false)),
                Err(error) => panic!("{error}"),
            }
        }
        let mut start = follow(&ours.store, StartFrom::Start).await;
        assert_eq!(start.until("5").await, ["4", "5"]);
        ours.close().await;
    }
}
