//! A group under load and faults, for as long as told: `MILLSTREAM_SOAK_SECONDS=3600` runs an hour on each server,
//! `MILLSTREAM_SOAK_RATE` is how many events are appended a second. Without either it is short.
//!
//! Backends are killed, consumers leave, crash and sleep past their leases. At the end every event's effect is there
//! once, in order within its stream. Meanwhile it prints what must stay flat: the inbox, dead rows, what a pass of the
//! sequencer costs, memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use millstream_core::{
    Clock, ConsumerName, Event, EventOf, EventStore, GroupConsumer, GroupOptions, Groups, Store, StoreOptions, Stores,
    SystemClock,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::Database;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::Client;

#[path = "groups/consumer.rs"]
#[allow(dead_code, reason = "the audit here is the database's own")]
mod consumer;
mod world;

use consumer::{Consumer, drained, effects, events, lasting, spec};

const LEASE: Duration = Duration::from_secs(1);
const PARTITIONS: u16 = 16;
/// Streams that events are appended to in turn.
const STREAMS: u64 = 100;
/// Appends a second.
const BATCHES: u64 = 20;
/// How long a group may take to catch up when the faults are over.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, expected a number")),
        Err(_) => otherwise,
    }
}

/// For who watches; `--nocapture` shows it.
#[expect(clippy::print_stdout, reason = "a soak is watched while it runs")]
fn say(line: &str) {
    println!("{line}");
}

async fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(PostgresOptions::new(url).pool_size(5), StoreOptions::default()).await.unwrap()
}

/// Appends at a steady rate until dropped; counts what was acknowledged.
async fn append(store: PostgresStore, rate: u64, told: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(BATCHES).unwrap());
    let count = (rate / BATCHES).max(1);
    for round in 0.. {
        ticks.tick().await;
        // Of a commit whose answer was lost nobody knows: keys make the second try harmless.
        let one = |(at, one): (usize, millstream_core::Append)| one.key(format!("soak.{round}.{at}"));
        let batch: Vec<_> = events(STREAMS, round, count).into_iter().enumerate().map(one).collect();
        while let Err(error) = store.append(&batch).await {
            assert!(error.is_transient(), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        told.fetch_add(count, Ordering::Relaxed);
    }
}

/// A consumer of the runtime that users have.
async fn join(store: &PostgresStore, name: &str) -> GroupConsumer {
    let options = GroupOptions { poll: Duration::from_millis(200), ..GroupOptions::default() };
    let groups = Groups::new(Stores::of(Arc::new(store.clone())), options).unwrap();
    lasting(async || {
        let handle = |batch: Vec<EventOf<Value>>, _| {
            let events: Vec<Event> = batch.iter().map(|event| (**event).clone()).collect();
            async move { Ok(effects(&events)) }
        };
        groups.consume_batch(spec(LEASE, PARTITIONS), ConsumerName::new(name).unwrap(), handle).await
    })
    .await
}

/// Ends some of the database's sessions: whatever they are at.
fn terminate_some(database: &Database) {
    let text = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and application_name = 'millstream'
                and random() < 0.3";
    database.run(text).unwrap();
}

/// What must stay flat.
async fn watch(client: &Client, since: Duration, appended: u64) -> String {
    let text = "select (select count(*) from millstream.queue_event_inbox),
                       (select sum(n_dead_tup)::bigint from pg_stat_user_tables where relname in
                        ('queue_event_inbox', 'queue_event_cursors', 'queue_event_members', 'event_head')),
                       (select pg_relation_size('millstream.queue_event_inbox')
                             + pg_relation_size('millstream.queue_event_cursors')),
                       (select h.pos - min(c.pos) from millstream.queue_event_cursors c, millstream.event_head h
                        group by h.pos)";
    let row = client.query_one(text, &[]).await.unwrap();
    let (inbox, dead): (i64, Option<i64>) = (row.get(0), row.get(1));
    let (bytes, lag): (i64, i64) = (row.get(2), row.get(3));
    let clock = SystemClock::new();
    client.batch_execute("select millstream.sequence_events(2000, 0, true, true)").await.unwrap();
    let pass = clock.monotonic();
    format!(
        "{:>6.0} s  appended {appended:>9}  lag {lag:>7}  inbox {inbox:>5}  dead rows {:>6}  inbox and cursors {:>5} kB  \
         pass {:>6.2} ms  memory {:>4} MB",
        since.as_secs_f64(),
        dead.unwrap_or(0),
        bytes / 1024,
        pass.as_secs_f64() * 1e3,
        resident_mb()
    )
}

fn resident_mb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096 / (1024 * 1024)
}

/// Lost, doubled and out of order, by the log itself.
const AUDIT: &str = "
    with given as materialized (select id from millstream.queue_events where stream >= 'in:' and stream < 'in;'),
    done as materialized (
        select id, stream, (data ->> 'of')::bigint as origin from millstream.queue_events
        where stream >= 'out:' and stream < 'out;'),
    ordered as (select origin, lag(origin) over (partition by stream order by id) as before from done)
    select (select count(*) from given),
           (select count(*) from given g where not exists (select from done d where d.origin = g.id)),
           (select count(*) - count(distinct origin) from done),
           (select count(*) from ordered where before > origin)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_out_of_order_for_as_long_as_it_runs() {
    let (seconds, rate) = (setting("MILLSTREAM_SOAK_SECONDS", 10), setting("MILLSTREAM_SOAK_RATE", 500));
    for (version, database) in world::databases() {
        say(&format!("PostgreSQL {version}: {seconds} s of {rate} events a second"));
        let url = database.url();
        let (client, _driver) = world::connect(&url).await;
        let writer = connect(&url).await;
        let processes = [connect(&url).await, connect(&url).await];
        let appended = Arc::new(AtomicU64::new(0));
        let mut consumers = Vec::new();
        for number in 0..4 {
            consumers.push(join(&processes[number % 2], &format!("c{number}")).await);
        }
        let mut load = JoinSet::new();
        load.spawn(append(writer.clone(), rate, appended.clone()));
        let mut sleepers = JoinSet::new();
        let clock = SystemClock::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.tick().await;
        let every = (seconds / 40).max(1);
        for second in 1..=seconds {
            ticks.tick().await;
            if second % 5 == 2 {
                terminate_some(&database);
            }
            if second % 7 == 3 {
                let gone = consumers.remove(0);
                lasting(async || gone.unsubscribe().await).await;
                consumers.push(join(&processes[1], "joined").await);
            }
            if second % 11 == 5 {
                // It crashes: its partitions come free by their lease.
                drop(consumers.remove(0));
                consumers.push(join(&processes[0], "after a crash").await);
            }
            if second % 13 == 4 {
                let mut sleeper = Consumer::new(&processes[0], "sleeper", LEASE);
                sleeper.pause = LEASE * 2;
                sleepers.spawn(sleeper.run());
            }
            if second % 13 == 8 {
                sleepers.shutdown().await;
            }
            if second % every == 0 {
                say(&watch(&client, clock.monotonic(), appended.load(Ordering::Relaxed)).await);
            }
        }
        load.shutdown().await;
        sleepers.shutdown().await;
        drained(&writer, PATIENCE).await;
        say(&watch(&client, clock.monotonic(), appended.load(Ordering::Relaxed)).await);
        for consumer in consumers {
            lasting(async || consumer.unsubscribe().await).await;
        }
        let row = client.query_one(AUDIT, &[]).await.unwrap();
        let [given, lost, doubled, out_of_order] = [0, 1, 2, 3].map(|column| row.get::<_, i64>(column));
        say(&format!(
            "PostgreSQL {version}: {given} events, {lost} lost, {doubled} doubled, {out_of_order} out of order"
        ));
        assert_eq!((lost, doubled, out_of_order), (0, 0, 0), "of {given} on {version}");
        assert!(given >= i64::try_from(appended.load(Ordering::Relaxed)).unwrap(), "what was acknowledged is there");
        let left = client.query_one("select count(*) from millstream.queue_event_inbox", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 0, "the inbox is empty at the end");
        for store in processes.into_iter().chain([writer]) {
            store.close().await.unwrap();
        }
    }
}
