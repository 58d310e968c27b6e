//! Order and completeness: whatever is committed is delivered once, in one order, however long a transaction stays open.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use millstream_core::{Entropy, EventStore, SeededEntropy};
use millstream_servers::Postgres;
use tokio::task::JoinSet;

use crate::{
    log::{Log, Ours, Reader, ask, event, run, until},
    original::Original,
    world,
};

/// A inserts, B inserts and commits, a reader reads, A commits, the reader reads. Answers what it was given.
async fn late_commit(log: &impl Log, url: &str) -> Vec<String> {
    let (a, _a) = world::connect(url).await;
    let (b, _b) = world::connect(url).await;
    let mut reader = log.reader().await;
    run(&a, "begin").await;
    run(&a, &log.append("s", "a")).await;
    run(&b, &log.append("s", "b")).await;
    let mut seen = reader.until("b").await;
    run(&a, "commit").await;
    run(&b, &log.append("s", "end")).await;
    seen.extend(reader.until("end").await);
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_is_delivered() {
    for (_, database) in world::databases() {
        let url = database.url();
        let ours = Ours::open(&url, "late").await;
        assert_eq!(late_commit(&ours, &url).await, ["b", "a", "end"]);
        ours.close().await;
        let original = Original::open(&url).await;
        assert_eq!(late_commit(&original, &url).await, ["b", "end"], "the original loses it");
    }
}

const WRITERS: usize = 8;
const STREAMS: u64 = 20;

/// Many writers, each transaction open for up to 3 ms, one in ten rolled back. Answers the marks that were committed.
async fn write_with_delays(log: &impl Log, url: &str, rounds: usize) -> BTreeSet<String> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (client, driver) = world::connect(url).await;
        let entropy = SeededEntropy::new(writer as u64);
        let mut plan = Vec::new();
        for round in 0..rounds {
            let mark = format!("{writer}.{round}");
            let stream = format!("s{}", entropy.next_u64() % STREAMS);
            let sleep = format!("select pg_sleep({})", (entropy.next_u64() % 4) as f64 / 1000.0);
            let ends = if entropy.next_u64().is_multiple_of(10) { "rollback" } else { "commit" };
            plan.push((log.append(&stream, &mark), sleep, ends, mark));
        }
        writers.spawn(async move {
            let mut committed = BTreeSet::new();
            for (append, sleep, ends, mark) in plan {
                run(&client, "begin").await;
                run(&client, &append).await;
                run(&client, &sleep).await;
                run(&client, ends).await;
                if ends == "commit" {
                    committed.insert(mark);
                }
            }
            drop(driver);
            committed
        });
    }
    let mut committed = BTreeSet::new();
    while let Some(marks) = writers.join_next().await {
        committed.extend(marks.unwrap());
    }
    committed
}

/// Sessions that number events, over and over, while one kills them. Answers the kills.
async fn sequencers_under_fire(url: &str, schema: &'static str, over: Arc<AtomicBool>) -> usize {
    let pids = Arc::new(Mutex::new([0; 3]));
    let mut sequencers = JoinSet::new();
    for place in 0..3 {
        let (url, over, pids) = (url.to_owned(), over.clone(), pids.clone());
        sequencers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let (client, _driver) = world::connect(&url).await;
                let Ok(row) = client.query_one("select pg_backend_pid()", &[]).await else { continue };
                pids.lock().unwrap()[place] = row.get(0);
                let pass = format!("select moved from {schema}.sequence_events(50, 0, false, true)");
                while !over.load(Ordering::Relaxed) && client.query_one(&pass, &[]).await.is_ok() {}
            }
        });
    }
    let (killer, _driver) = world::connect(url).await;
    let entropy = SeededEntropy::new(7);
    let kills = AtomicUsize::new(0);
    while !over.load(Ordering::Relaxed) {
        let pid: i32 = pids.lock().unwrap()[(entropy.next_u64() % 3) as usize];
        let killed = format!("select pg_terminate_backend({pid})::integer::bigint where {pid} > 0");
        if let Ok(Some(_)) = killer.query_opt(&killed, &[]).await {
            kills.fetch_add(1, Ordering::Relaxed);
        }
        run(&killer, "select pg_sleep(0.01)").await;
    }
    while sequencers.join_next().await.is_some() {}
    kills.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_under_random_delays_and_kills() {
    for (_, database) in world::databases() {
        let url = database.url();
        let ours = Ours::open(&url, "delays").await;
        // Half of the streams are numbered.
        for stream in (0..STREAMS).step_by(2) {
            ours.store.append(&[event(&format!("s{stream}"), "begun").expecting(0)]).await.unwrap();
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut fire = JoinSet::new();
        let (address, stop) = (url.clone(), over.clone());
        fire.spawn(async move { sequencers_under_fire(&address, "delays", stop).await });
        let mut reader = ours.reader().await;
        let mut reading = JoinSet::new();
        reading.spawn(async move { reader.until("end").await });
        let committed = write_with_delays(&ours, &url, 150).await;
        over.store(true, Ordering::Relaxed);
        let kills = fire.join_next().await.unwrap().unwrap();
        assert!(kills > 10, "{kills} kills");
        ours.store.append(&[event("s", "end")]).await.unwrap();
        let mut seen = reading.join_next().await.unwrap().unwrap();
        seen.retain(|mark| mark != "begun" && mark != "end");
        assert_eq!(seen.len(), committed.len(), "delivered once each");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), committed);

        let log = ours.log().await;
        let positions: Vec<u64> = log.iter().map(|event| event.id).collect();
        assert_eq!(positions, (1..=log.len() as u64).collect::<Vec<_>>(), "positions are dense");
        let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for event in log {
            versions.entry(event.stream.to_string()).or_default().extend(event.version);
        }
        for (stream, versions) in versions {
            assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "versions of {stream}");
        }
        ours.close().await;

        let original = Original::open(&url).await;
        let mut reader = original.reader().await;
        let mut reading = JoinSet::new();
        reading.spawn(async move { reader.until("end").await });
        let committed = write_with_delays(&original, &url, 40).await;
        original.add("end").await;
        let seen: BTreeSet<String> = reading.join_next().await.unwrap().unwrap().into_iter().collect();
        let lost = committed.difference(&seen).count();
        assert!(lost > 0, "the original loses some of {}", committed.len());
    }
}

/// A transaction that began first and appends last is last: the order is not that of transactions' beginnings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_its_order_whoever_began_first() {
    for (_, database) in world::databases() {
        let url = database.url();
        let ours = Ours::open(&url, "early").await;
        ours.run("create table {schema}.business (id integer)").await;
        let (early, _early) = world::connect(&url).await;
        run(&early, "begin; insert into early.business values (1)").await;
        ours.store.append(&[event("s", "first").expecting(0)]).await.unwrap();
        run(&early, "select * from early.append('s', '[{\"type\": \"second\"}]', 1)").await;
        run(&early, "commit").await;
        let log = ours.log().await;
        let found: Vec<_> = log.iter().map(|event| (&*event.kind, event.version)).collect();
        assert_eq!(found, [("first", Some(1)), ("second", Some(2))]);
        ours.close().await;
    }
}

/// Neither a transaction that stays open, nor a prepared one, nor one in another database holds up what was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stranger_holds_up_an_event() {
    for version in millstream_servers::postgres::available() {
        let server = Postgres::start_with(version, &[("max_prepared_transactions", "4")]).unwrap();
        let (database, other) = (server.create_database(), server.create_database());
        let url = database.url();
        let ours = Ours::open(&url, "strangers").await;
        let mut reader = ours.reader().await;
        run(&ours.client, "create table public.t (id integer)").await;

        let (foreign, _foreign) = world::connect(&other.url()).await;
        run(&foreign, "create table t (id integer); begin; insert into t values (1)").await;
        let (prepared, _prepared) = world::connect(&url).await;
        run(&prepared, "begin; insert into public.t values (1); prepare transaction 'p'").await;
        let (open, _open) = world::connect(&url).await;
        run(&open, "begin").await;
        run(&open, &ours.append("s", "open")).await;
        let (locks, _locks) = world::connect(&url).await;
        run(&locks, "begin; select * from public.t for share").await;

        ours.store.append(&[event("s", "e")]).await.unwrap();
        assert_eq!(reader.until("e").await, ["e"]);
        run(&prepared, "rollback prepared 'p'").await;
        run(&open, "commit").await;
        assert_eq!(reader.until("open").await, ["open"]);
        ours.close().await;
    }
}

/// Somebody's trigger may hold an insert back after its number was drawn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_that_is_held_back_is_not_passed_over() {
    for (_, database) in world::databases() {
        let url = database.url();
        let ours = Ours::open(&url, "held").await;
        ours.run(
            "create function {schema}.hold() returns trigger language plpgsql as $$ begin
                 if new.stream = 'held' then perform pg_advisory_xact_lock(4711); end if;
                 return new;
             end $$;
             create trigger hold before insert on {schema}.queue_event_inbox
             for each row execute function {schema}.hold()",
        )
        .await;
        let mut reader = ours.reader().await;
        run(&ours.client, "select pg_advisory_lock(4711)").await;
        let (held, _held) = world::connect(&url).await;
        let append = ours.append("held", "held");
        let mut holding = JoinSet::new();
        holding.spawn(async move { run(&held, &append).await });
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and not granted";
        until(&ours.client, waiting).await;
        for mark in ["1", "2", "3"] {
            ours.store.append(&[event("s", mark)]).await.unwrap();
        }
        assert_eq!(reader.until("3").await, ["1", "2", "3"]);
        run(&ours.client, "select pg_advisory_unlock(4711)").await;
        holding.join_next().await.unwrap().unwrap();
        assert_eq!(reader.until("held").await, ["held"]);
        assert_eq!(ask(&ours.client, "select count(*) from held.queue_event_inbox").await, 0);
        ours.close().await;
    }
}
