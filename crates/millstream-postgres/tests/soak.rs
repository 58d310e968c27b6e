//! A group under load and faults, for as long as told. An hour on one server:
//!
//! ```text
//! MILLSTREAM_SOAK_SECONDS=3600 MILLSTREAM_SOAK_RATE=300 MILLSTREAM_POSTGRES_VERSIONS=18 \
//!     cargo test -p millstream-postgres --test soak -- --nocapture --test-threads=1
//! ```
//!
//! `MILLSTREAM_SOAK_RATE` is how many events are appended a second, `MILLSTREAM_POSTGRES_VERSIONS` which servers take
//! their turn. Without any of them it is short, on each.
//!
//! Meanwhile sessions are ended, connections are cut by a proxy, processes of consumers are killed and stopped for longer
//! than their leases, consumers leave, crash and sleep, the server is restarted and killed. Every effect is an event, in
//! the transaction of its cursor: so the log itself says what was lost, doubled or out of order, and is asked all the
//! time. What must stay flat is printed beside it, and at the end the first quarter is compared with the last.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use millstream_core::{
    Append, Clock, ConsumerName, Event, EventOf, EventStore, GroupConsumer, GroupOptions, Groups, NewEvent, Store,
    StoreOptions, Stores, StreamName, SystemClock,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{
    Mode, Postgres, Version,
    fault::{self, Direction, Proxy},
    postgres,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::Client;

#[path = "groups/consumer.rs"]
#[allow(dead_code, reason = "the audit here is the database's own")]
mod consumer;
#[allow(dead_code, reason = "the server here is one that is killed")]
mod world;

use consumer::{Consumer, drained, effects, lasting, spec};

const LEASE: Duration = Duration::from_secs(1);
const PARTITIONS: u16 = 16;
/// Streams that events are appended to in turn.
const STREAMS: u64 = 100;
/// Commits of the writer a second, and the streams of each.
const BATCHES: u64 = 10;
const APPENDS: u64 = 5;
/// What of a sample is compared.
type Measure = fn(&Sample) -> f64;

/// How long a group may take to catch up when the faults are over.
const PATIENCE: Duration = Duration::from_secs(300);
/// Messages between two cuts of connections, at most.
const GAP_MAX: u64 = 4_000;
/// Samples from which on quarters are compared.
const QUARTERED: usize = 20;
/// Names the server to a process of one consumer.
const CHILD: &str = "MILLSTREAM_SOAK_CHILD";

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
    let options = PostgresOptions::new(url).pool_size(5);
    lasting(async || PostgresStore::connect(options.clone(), StoreOptions::default()).await).await
}

/// Appends at a steady rate until dropped; counts what was acknowledged. Behind by a restart, it catches up.
async fn append(store: PostgresStore, rate: u64, told: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(BATCHES).unwrap());
    let count = (rate / BATCHES / APPENDS).max(1);
    for round in 0.. {
        ticks.tick().await;
        let one = |at: u64| {
            let stream = StreamName::new(format!("in:{}", (round * APPENDS + at) % STREAMS)).unwrap();
            let event = NewEvent::new("e", json!({ "round": round, "at": at }));
            // Of a commit whose answer was lost nobody knows: keys make the second try harmless.
            let append = Append::one(stream, event.clone()).key(format!("soak.{round}.{at}"));
            Append { events: vec![event; usize::try_from(count).unwrap()], ..append }
        };
        let batch: Vec<_> = (0..APPENDS).map(one).collect();
        while let Err(error) = store.append(&batch).await {
            assert!(error.is_transient(), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        told.fetch_add(count * APPENDS, Ordering::Relaxed);
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

async fn leave(consumer: GroupConsumer) {
    if let Err(error) = consumer.unsubscribe().await {
        // Its partitions come free by their lease.
        assert!(error.is_transient(), "{error}");
    }
}

/// A process of one consumer; does nothing where it is not asked to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let _consumer = join(&connect(&url).await, "child").await;
    // Its end comes from outside.
    std::future::pending().await
}

fn spawn(url: &str) -> fault::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, url);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    fault::process::Child::spawn(&mut command).unwrap()
}

/// Ends some of the store's sessions: whatever they are at.
fn terminate_some(server: &Postgres) {
    let text = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and application_name = 'millstream'
                and random() < 0.3";
    server.query(text).unwrap();
}

/// Lost, doubled and out of order among the events in a range of positions, by the log itself. Effects come behind their
/// events.
const AUDIT: &str = "
    with given as materialized (
        select id from millstream.queue_events
        where id > $1 and id <= $2 and stream >= 'in:' and stream < 'in;'),
    done as materialized (
        select id, stream, (data ->> 'of')::bigint as origin from millstream.queue_events
        where id > $1 and stream >= 'out:' and stream < 'out;'),
    mine as materialized (select * from done where origin > $1 and origin <= $2),
    ordered as (select origin, lag(origin) over (partition by stream order by id) as before from mine)
    select (select count(*) from given),
           (select count(*) from given g where not exists (select from mine d where d.origin = g.id)),
           (select count(*) - count(distinct origin) from mine),
           (select count(*) from ordered where before > origin)";

/// What the log says of a range of positions.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    given: i64,
    lost: i64,
    doubled: i64,
    out_of_order: i64,
}

impl Found {
    async fn read(client: &Client, after: i64, to: i64) -> Self {
        let row = client.query_one(AUDIT, &[&after, &to]).await.unwrap();
        Self { given: row.get(0), lost: row.get(1), doubled: row.get(2), out_of_order: row.get(3) }
    }

    fn check(&self) {
        assert_eq!((self.lost, self.doubled, self.out_of_order), (0, 0, 0), "{self:?}");
    }
}

/// What must stay flat, at one moment.
struct Sample {
    /// Rows that are not numbered yet.
    inbox: f64,
    /// Dead rows of the inbox, the cursors, the members.
    dead: [f64; 3],
    /// The same tables' pages, with their indexes, in kB.
    size: [f64; 3],
    /// Pages that a pass of the sequencer touches.
    pass: f64,
    /// Pages of the inbox touched for each event since the last sample, by writers and the sequencer.
    pages: f64,
    /// Events that the group is behind.
    lag: f64,
    /// Resident memory of this process, with its writer and half of the consumers, in MB.
    memory: f64,
}

const TABLES: [&str; 3] = ["queue_event_inbox", "queue_event_cursors", "queue_event_members"];

/// What the server counts from its start on.
#[derive(Clone, Copy, Default)]
struct Counted {
    head: i64,
    pages: i64,
}

async fn counted(client: &Client) -> Counted {
    let text = "select h.pos, (s.heap_blks_hit + s.heap_blks_read + s.idx_blks_hit + s.idx_blks_read)::bigint
                from millstream.event_head h, pg_statio_user_tables s
                where s.schemaname = 'millstream' and s.relname = 'queue_event_inbox'";
    let row = client.query_one(text, &[]).await.unwrap();
    Counted { head: row.get(0), pages: row.get(1) }
}

/// Pages that a pass touches: the middle one of some.
async fn pass(client: &Client) -> f64 {
    let text = "explain (analyze, buffers, timing off, format json)
                select * from millstream.sequence_events(2000, 0, true, true)";
    let mut pages = Vec::new();
    for turn in 0..12 {
        let plan: Value = serde_json::from_str(
            &client
                .simple_query(text)
                .await
                .unwrap()
                .iter()
                .filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                })
                .collect::<String>(),
        )
        .unwrap();
        let blocks = |key: &str| plan[0]["Plan"][key].as_f64().unwrap();
        // A new session first learns the tables.
        if turn > 2 {
            pages.push(blocks("Shared Hit Blocks") + blocks("Shared Read Blocks"));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    median(&mut pages)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn resident_mb() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0 / (1024.0 * 1024.0)
}

/// What is watched while it runs.
struct Watch {
    url: String,
    clock: SystemClock,
    appended: Arc<AtomicU64>,
    before: Counted,
    /// Up to here the log was asked what was done.
    audited: i64,
    total: Found,
    samples: Vec<Sample>,
}

impl Watch {
    /// Asks the log and the server, and says so.
    async fn look(&mut self) {
        let (client, _driver) = world::connect(&self.url).await;
        // Every partition has passed this position: what is up to it is done, or lost.
        let done = "select min(c.pos) from millstream.queue_event_cursors c";
        let done: i64 = client.query_one(done, &[]).await.unwrap().get(0);
        client.query_one("select millstream.flush_events(true)", &[]).await.unwrap();
        let found = Found::read(&client, self.audited, done).await;
        self.audited = done;
        let text = "select s.n_dead_tup, pg_total_relation_size(s.relid) from pg_stat_user_tables s
                    where s.schemaname = 'millstream' and s.relname = $1";
        let (mut dead, mut size) = ([0.0; 3], [0.0; 3]);
        for (at, table) in TABLES.iter().enumerate() {
            let row = client.query_one(text, &[table]).await.unwrap();
            (dead[at], size[at]) = (row.get::<_, i64>(0) as f64, row.get::<_, i64>(1) as f64 / 1024.0);
        }
        let inbox = client.query_one("select count(*) from millstream.queue_event_inbox", &[]).await.unwrap();
        let pass = pass(&client).await;
        let now = counted(&client).await;
        let events = (now.head - self.before.head).max(1) as f64;
        // After a crash the server counts from zero.
        let pages = (now.pages - self.before.pages).max(0) as f64 / events;
        self.before = now;
        let lag = (now.head - done) as f64;
        let inbox = inbox.get::<_, i64>(0) as f64;
        let sample = Sample { inbox, dead, size, pass, pages, lag, memory: resident_mb() };
        self.total.given += found.given;
        self.total.lost += found.lost;
        self.total.doubled += found.doubled;
        self.total.out_of_order += found.out_of_order;
        let Found { given, lost, doubled, out_of_order } = self.total;
        say(&format!(
            "{:>6.0} s  appended {:>8}  done {given:>8}  lost {lost}  doubled {doubled}  out of order {out_of_order}  \
             lag {:>6}  inbox {:>5}  dead rows: inbox {:>6}, cursors {:>5}, members {:>4}  kB: {:>6} {:>5} {:>4}  \
             pages a pass {:>4}, an event {:>5.1}  memory {:>5.1} MB",
            self.clock.monotonic().as_secs_f64(),
            self.appended.load(Ordering::Relaxed),
            sample.lag,
            sample.inbox,
            sample.dead[0],
            sample.dead[1],
            sample.dead[2],
            sample.size[0],
            sample.size[1],
            sample.size[2],
            sample.pass,
            sample.pages,
            sample.memory
        ));
        found.check();
        self.samples.push(sample);
    }

    /// The last quarter against the first: at most so many times as much, and so much that says nothing.
    fn check_flat(&self) {
        if self.samples.len() < QUARTERED {
            return say("too short to compare its quarters");
        }
        let checks: [(&str, f64, f64, Measure); 11] = [
            ("inbox rows", 2.0, 1_000.0, |sample| sample.inbox),
            ("dead rows of the inbox", 2.0, 20_000.0, |sample| sample.dead[0]),
            ("dead rows of the cursors", 2.0, 5_000.0, |sample| sample.dead[1]),
            ("dead rows of the members", 2.0, 2_000.0, |sample| sample.dead[2]),
            ("kB of the inbox", 1.5, 4_096.0, |sample| sample.size[0]),
            ("kB of the cursors", 1.5, 1_024.0, |sample| sample.size[1]),
            ("kB of the members", 1.5, 512.0, |sample| sample.size[2]),
            ("pages a pass", 1.5, 50.0, |sample| sample.pass),
            ("pages an event", 1.5, 2.0, |sample| sample.pages),
            ("lag", 2.0, 5_000.0, |sample| sample.lag),
            ("MB of memory", 1.3, 8.0, |sample| sample.memory),
        ];
        let quarter = self.samples.len() / 4;
        let mut grown = Vec::new();
        for (what, factor, slack, of) in checks {
            let middle = |part: &[Sample]| median(&mut part.iter().map(of).collect::<Vec<_>>());
            let (first, last) =
                (middle(&self.samples[..quarter]), middle(&self.samples[self.samples.len() - quarter..]));
            say(&format!("{what}: {first:.1} in the first quarter, {last:.1} in the last"));
            if last > factor * first + slack {
                grown.push(format!("{what}: {first:.1}, then {last:.1}, at most {factor} × + {slack}"));
            }
        }
        assert!(grown.is_empty(), "{}", grown.join("\n"));
    }
}

async fn soak(version: Version, seconds: u64, rate: u64) {
    let mut server = Postgres::start_with(version, &[("max_wal_size", "1GB")]).unwrap();
    say(&format!("PostgreSQL {version}: {seconds} s of {rate} events a second"));
    let url = server.url();
    let writer = connect(&url).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let processes = [connect(&url).await, connect(&server.url_through(proxy.address(), "postgres")).await];
    proxy.cut_at_random(Direction::ToClient, 7, GAP_MAX);
    let appended = Arc::new(AtomicU64::new(0));
    let mut consumers = Vec::new();
    for number in 0..4 {
        consumers.push(join(&processes[number % 2], &format!("c{number}")).await);
    }
    let mut children = [spawn(&url), spawn(&url)];
    let mut load = JoinSet::new();
    load.spawn(append(writer.clone(), rate, appended.clone()));
    let mut sleepers = JoinSet::new();
    let mut watch = Watch {
        url: url.clone(),
        clock: SystemClock::new(),
        appended: appended.clone(),
        before: counted(&world::connect(&url).await.0).await,
        audited: 0,
        total: Found::default(),
        samples: Vec::new(),
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    ticks.tick().await;
    let mut second = 0;
    while second < seconds {
        ticks.tick().await;
        second = watch.clock.monotonic().as_secs().max(second + 1);
        // In a short run everything happens once.
        let due = |period: u64, at: u64| second % period.min(seconds) == at % period.min(seconds);
        if due(10, 2) {
            terminate_some(&server);
        }
        if due(20, 3) {
            leave(consumers.remove(0)).await;
            consumers.push(join(&processes[1], "joined").await);
        }
        if due(30, 5) {
            // It crashes: its partitions come free by their lease.
            drop(consumers.remove(0));
            consumers.push(join(&processes[0], "after a crash").await);
        }
        if due(30, 14) {
            let mut sleeper = Consumer::new(&processes[0], "sleeper", LEASE);
            sleeper.pause = LEASE * 2;
            sleepers.spawn(sleeper.run());
        }
        if due(30, 19) {
            sleepers.shutdown().await;
        }
        if due(30, 21) {
            children[0].stop().unwrap();
        }
        if due(30, 26) {
            children[0].cont().unwrap();
        }
        if due(60, 38) {
            children[1].kill9().unwrap();
            children[1] = spawn(&url);
        }
        if due(40, 10) {
            let direction = if second % 80 < 40 { Direction::ToServer } else { Direction::ToClient };
            proxy.cut_at_random(direction, second, GAP_MAX);
        }
        if due(300, 157) {
            server.restart(Mode::Fast).unwrap();
        }
        if due(1_200, 907) {
            server.restart(Mode::Kill).unwrap();
        }
        if due(60, 0) {
            watch.look().await;
        }
    }
    load.shutdown().await;
    sleepers.shutdown().await;
    proxy.heal().unwrap();
    drained(&writer, PATIENCE).await;
    watch.look().await;
    for consumer in consumers {
        leave(consumer).await;
    }
    drop(children);
    let (client, _driver) = world::connect(&url).await;
    let all = Found::read(&client, 0, i64::MAX).await;
    say(&format!(
        "PostgreSQL {version}: {} events, {} lost, {} doubled, {} out of order",
        all.given, all.lost, all.doubled, all.out_of_order
    ));
    all.check();
    let appended = appended.load(Ordering::Relaxed);
    assert!(all.given >= i64::try_from(appended).unwrap(), "what was acknowledged is there");
    assert!(appended * 5 >= rate * seconds * 4, "{appended} events are not the rate");
    let left = client.query_one("select count(*) from millstream.queue_event_inbox", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0, "the inbox is empty at the end");
    watch.check_flat();
    for store in processes.into_iter().chain([writer]) {
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_out_of_order_for_as_long_as_it_runs() {
    let (seconds, rate) = (setting("MILLSTREAM_SOAK_SECONDS", 10), setting("MILLSTREAM_SOAK_RATE", 300));
    for version in postgres::available() {
        soak(version, seconds, rate).await;
    }
}
