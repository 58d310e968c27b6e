//! Servers that restart, connections that break, and poolers in between.

use std::{collections::HashSet, sync::Arc, time::Duration};

use millstream_core::{
    Append, Bus, Effects, EventQuery, EventStore, JobContext, JobError, JobEvents, JobId, JobName, JobState, JobStore,
    NewEvent, NewJob, Outcome, Pattern, QueueName, QueueProvider, Settlement, StartFrom, Store, StoreOptions, Stores,
    StreamName, Timestamp, Verdict, Want, WorkerManager, WorkerOptions,
};
use millstream_postgres::{PostgresOptions, PostgresStore, schema};
use millstream_servers::{
    Mode, Pgbouncer, Postgres,
    fault::{Direction, Proxy, TERMINATE_BACKENDS},
    postgres,
};
use serde_json::json;

#[path = "world/again.rs"]
mod again;
#[path = "world/book.rs"]
mod book;
#[path = "world/time.rs"]
mod time;
mod world;

use again::lasting;

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

async fn settle(store: &PostgresStore) {
    let claimed = store.claim(&[Want::new(q(), 1)]).await.unwrap().remove(0);
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
        let claimed = store.claim(&[Want::new(q(), 1)]).await.unwrap().remove(0);
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

/// What goes wrong while jobs and events are written.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Requests are lost on their way.
    Requests,
    /// Answers to what was carried out are lost on their way.
    Answers,
    /// An administrator ends every session, five times.
    Sessions,
    /// The server is killed and started, twice.
    Restarts,
}

/// Jobs, and as many events beside them.
const MANY: usize = 120;

/// Makes trouble until half of the jobs are done; then the weather clears.
async fn trouble(kind: Trouble, server: &mut Postgres, proxy: &Proxy, store: &PostgresStore) {
    let done = async || {
        tokio::time::sleep(Duration::from_millis(5)).await;
        lasting(async || store.counts(&q()).await).await.completed as usize
    };
    match kind {
        Trouble::Requests => proxy.cut_at_random(Direction::ToServer, 7, 200),
        Trouble::Answers => proxy.cut_at_random(Direction::ToClient, 7, 200),
        Trouble::Sessions => {
            for at in (0..MANY / 2).step_by(MANY / 10) {
                while done().await < at {}
                server.query(TERMINATE_BACKENDS).unwrap();
            }
        }
        Trouble::Restarts => {
            for at in [MANY / 6, MANY / 3] {
                while done().await < at {}
                server.restart(Mode::Kill).unwrap();
            }
        }
    }
    while done().await < MANY / 2 {}
    proxy.heal().unwrap();
}

/// Producers call again what was not answered: jobs by their ids, events by their keys.
async fn produce(store: &PostgresStore) {
    for n in 0..MANY {
        let id = JobId::new(format!("job-{n}")).unwrap();
        lasting(async || store.enqueue(&[job().id(id.clone()).attempts(100)]).await).await;
        let key = format!("key-{n}");
        lasting(async || store.append(&[event().key(key.as_str())]).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_nothing_happens_twice_whatever_breaks() {
    let version = *postgres::available().last().unwrap();
    for kind in [Trouble::Requests, Trouble::Answers, Trouble::Sessions, Trouble::Restarts] {
        let mut server = Postgres::start(version).unwrap();
        let proxy = Proxy::start(server.address()).unwrap();
        let options = PostgresOptions::new(server.url_through(proxy.address(), "postgres"));
        let short = StoreOptions { lease: Duration::from_secs(2), ..StoreOptions::default() };
        let store = PostgresStore::connect(options, short).await.unwrap();
        let mut events = store.subscribe(&Pattern::All, StartFrom::Start).await.unwrap();

        let manager = WorkerManager::new(Stores::of(Arc::new(store.clone())), WorkerOptions::default());
        let effects = StreamName::new("effects").unwrap();
        let handler = move |_: serde_json::Value, ctx: JobContext| {
            let effect = Append::one(effects.clone(), NewEvent::new("done", json!(ctx.job_id())));
            async move {
                ctx.append(effect);
                Ok::<_, JobError>(json!(null))
            }
        };
        manager.register(&q(), &JobName::new("work").unwrap(), handler).unwrap();
        manager.start().await.unwrap();
        tokio::join!(produce(&store), trouble(kind, &mut server, &proxy, &store));
        server.query(&book::booked("millstream")).unwrap_or_else(|error| panic!("{kind:?}: {error}"));

        // The subscriber: each position once, in order, with one effect for each job and one event for each key.
        let (mut jobs, mut keyed, mut position) = (HashSet::new(), 0, 0);
        while jobs.len() < MANY || keyed < MANY {
            let next = std::future::poll_fn(|cx| events.as_mut().poll_next(cx));
            let next = tokio::time::timeout(PATIENCE, next).await;
            let next = next.unwrap_or_else(|_| panic!("{kind:?}: {} jobs, {keyed} events so far", jobs.len()));
            let next = next.unwrap().unwrap();
            position += 1;
            assert_eq!(next.id, position, "{kind:?}: a gap or a repeat");
            match next.stream.as_str() == "effects" {
                true => assert!(jobs.insert(next.data.to_string()), "{kind:?}: twice: {}", next.data),
                false => keyed += 1,
            }
        }
        let finished = async { while store.counts(&q()).await.unwrap().unfinished() > 0 {} };
        tokio::time::timeout(PATIENCE, finished).await.expect("every job ends");
        let counts = store.counts(&q()).await.unwrap();
        assert_eq!((counts.completed as usize, counts.total() as usize), (MANY, MANY), "{kind:?}: {counts:?}");
        assert_eq!(store.head().await.unwrap(), position, "{kind:?}: nothing more was appended");

        // Nor is anything left in the book, a lease later.
        let tidied = async {
            while server.query("select claim from millstream.job_book").unwrap() != Vec::<Vec<_>>::new() {
                store.rescue().await.unwrap();
                store.claim(&[Want::new(q(), 1)]).await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, tidied).await.expect("the book is empty where nothing runs");

        // No worker died of it.
        store.enqueue(&[job()]).await.unwrap();
        let worked = async { while (store.counts(&q()).await.unwrap().completed as usize) <= MANY {} };
        tokio::time::timeout(PATIENCE, worked).await.expect("the worker works on");
        manager.close_all().await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_works_behind_a_pooler_of_transactions() {
    let server = postgres::v15();
    // A pool of sessions that stay; and one that opens another for each transaction, so that none is older than the
    // connection it serves.
    for (lifetime, schema) in [("3600", "pooled"), ("0", "pooled_once")] {
        let pooler = Pgbouncer::start_with(server, &[("server_lifetime", lifetime)]).unwrap();
        work_behind(server, &pooler, schema).await;
    }
}

async fn work_behind(server: &Postgres, pooler: &Pgbouncer, schema: &str) {
    let url = server.url_through(pooler.address(), "postgres");
    let options = PostgresOptions::new(url).schema(schema);
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

/// A role that may do nothing but use the schema it was given migrates it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_of_the_schema_needs_no_right_to_create_one() {
    for (version, database) in world::databases() {
        let role = format!("owner_{}", database.name());
        let setup = format!("create role {role} login password 'secret'; create schema jobs authorization {role}");
        database.run(&setup).unwrap();
        let address = database.address();
        let url = format!("postgres://{role}:secret@{address}/{}", database.name());
        let options = PostgresOptions::new(url).schema("jobs");
        assert!(schema::up(&options).await.unwrap().is_current(), "on {version}");
        let store = PostgresStore::connect(options.clone(), StoreOptions::default()).await.unwrap();
        store.enqueue(&[job()]).await.unwrap();
        settle(&store).await;
        store.close().await.unwrap();
        let refused = schema::up(&options.schema("others")).await.unwrap_err();
        assert!(format!("{refused:?}").contains("permission denied"), "{refused:?}");
        database.run(&format!("drop owned by {role} cascade; drop role {role}")).unwrap();
    }
}

/// While the store is down, what is published is refused, and nobody hears of it; nothing has to be opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_goes_on_when_its_store_is_back() {
    let mut server = Postgres::start(millstream_servers::Version::V15).unwrap();
    let store = PostgresStore::connect(PostgresOptions::new(server.url()), StoreOptions::default()).await.unwrap();
    let bus = Bus::new(std::sync::Arc::new(store.clone()));
    let mut listener = bus.listen(Pattern::All);
    let named = |kind: &str| Append::one(StreamName::new("s").unwrap(), NewEvent::new(kind, json!(1))).key(kind);
    bus.publish(&[named("before")]).await.unwrap();
    server.stop(Mode::Immediate).unwrap();
    let refused = bus.publish(&[named("meanwhile")]).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    server.start_again().unwrap();
    lasting(async || bus.publish(&[named("after")]).await).await;
    for kind in ["before", "after"] {
        let heard = tokio::time::timeout(PATIENCE, listener.next()).await.unwrap().unwrap();
        assert_eq!(&*heard.event.kind, kind);
    }
    let stored: Vec<_> = store.query(&EventQuery::of(Pattern::All)).await.unwrap();
    assert_eq!(stored.iter().map(|event| &*event.kind).collect::<Vec<_>>(), ["before", "after"]);
    store.close().await.unwrap();
}

/// Where only requests get lost, what is answered with "unavailable" was not done: by a handle that met the queue for the
/// first time, too, and has to learn its name on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_moved_no_job() {
    let database = postgres::v15().create_database();
    let (client, _driver) = world::connect(&database.url()).await;
    let owner = PostgresStore::connect(PostgresOptions::new(database.url()), StoreOptions::default()).await.unwrap();
    let proxy = Proxy::start(database.address()).unwrap();
    let through = PostgresOptions::new(database.url_through(proxy.address())).pool_size(1);
    // Each statement is a commit by itself.
    let options = StoreOptions { job_events: JobEvents::Off, ..StoreOptions::default() };
    let mut now: Timestamp = "2026-11-21T12:00:30Z".parse().unwrap();
    let mut cuts = 0;
    for (messages, promoting) in (0..48).flat_map(|messages| [(messages, false), (messages, true)]) {
        client.batch_execute(&time::set_time("millstream", now)).await.unwrap();
        owner.enqueue(&[job(), job().delay(owner.lease())]).await.unwrap();
        owner.claim(&[Want::new(q(), 1)]).await.unwrap().remove(0);
        now = now.checked_add(owner.lease() * 2).unwrap();
        client.batch_execute(&time::set_time("millstream", now)).await.unwrap();

        let stranger = PostgresStore::connect(through.clone(), options.clone()).await.unwrap();
        hearing(&stranger).await;
        proxy.cut_after(Direction::ToServer, messages);
        let answer = match promoting {
            true => stranger.promote_due().await.map(drop),
            false => stranger.rescue().await.map(|rescued| assert_eq!(rescued, 1)),
        };
        proxy.heal().unwrap();
        let counts = owner.counts(&q()).await.unwrap();
        let left = if promoting { counts.delayed } else { counts.active };
        match answer {
            // The look at what is due next comes after the commit, and after what is told of it.
            Err(error) if left == 0 && error.to_string().contains("look for due jobs") => {}
            Err(error) if left == 0 => panic!("done, and answered so after {messages} messages: {error}"),
            Err(error) => assert!(error.is_transient(), "{error}"),
            Ok(()) => assert_eq!(left, 0, "after {messages} messages"),
        }
        cuts += u32::from(left > 0);
        stranger.close().await.unwrap();
        owner.rescue().await.unwrap();
        owner.promote_due().await.unwrap();
        for _ in 0..2 {
            settle(&owner).await;
        }
    }
    assert!(cuts > 8, "the cuts met the calls: {cuts}");
    owner.close().await.unwrap();
}

/// Registers for the next wake-up before it does something, and waits for it.
async fn woken_by(hearer: &PostgresStore, doing: impl Future<Output = ()>) {
    let queues = [q()];
    let mut waiting = std::pin::pin!(hearer.wait(&queues));
    // Hints may be doubled: those of before are waited past.
    while std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx))).await.is_ready() {
        waiting.set(hearer.wait(&queues));
    }
    doing.await;
    tokio::time::timeout(PATIENCE, waiting).await.expect("the other process is told");
}

async fn hearing(store: &PostgresStore) {
    let hearing = async {
        while !store.hears() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.expect("the listener hears itself");
}

/// Others who hear look rarely: so a NOTIFY whose connection was cut, wherever, is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_that_could_not_be_told_is_told_later() {
    let server = postgres::v15();
    let database = server.create_database();
    let proxy = Proxy::start(server.address()).unwrap();
    let direct = PostgresOptions::new(database.url());
    let hearer = PostgresStore::connect(direct, StoreOptions::default()).await.unwrap();
    let through = PostgresOptions::new(database.url_through(proxy.address())).pool_size(1);
    let teller = PostgresStore::connect(through, StoreOptions::default()).await.unwrap();
    hearing(&hearer).await;
    // Messages of the enqueue, then of the NOTIFY, each on a connection that is new since the last cut.
    for messages in 1..24 {
        hearing(&teller).await;
        woken_by(&hearer, async {
            proxy.cut_after(Direction::ToServer, messages);
            lasting(async || teller.enqueue(&[job()]).await).await;
        })
        .await;
        proxy.heal().unwrap();
    }
    for store in [&hearer, &teller] {
        store.close().await.unwrap();
    }
}
