//! Whatever dies or sleeps: every event's effects are there once, in order within its stream.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use millstream_core::{CursorMove, EventStore, PartitionClaim, ReadFrom, Store, StoreOptions};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{Database, Mode, Pgbouncer, Postgres, fault, postgres};
use tokio::task::JoinSet;

use crate::{
    again::lasting,
    consumer::{self, Consumer, Wrong, audit, drained, events, group, spec},
    world,
};

const LEASE: Duration = Duration::from_millis(600);
const PATIENCE: Duration = Duration::from_secs(60);
/// Names the database to the process that is stopped.
const ZOMBIE: &str = "MILLSTREAM_TEST_ZOMBIE";

pub(crate) async fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(PostgresOptions::new(url), StoreOptions::default()).await.unwrap()
}

/// Ends some of the database's sessions, but not the caller's: whatever they are at.
fn terminate_some(database: &Database) {
    let text = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and random() < 0.4";
    database.run(text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_effect_is_there_once_while_backends_die_and_members_pause() {
    for (version, database) in world::databases() {
        let store = connect(&database.url()).await;
        store.groups().unwrap().ensure_group(&spec(LEASE, 16)).await.unwrap();
        let mut members = JoinSet::new();
        for name in ["a", "b", "c"] {
            members.spawn(Consumer::new(&connect(&database.url()).await, name, LEASE).run());
        }
        let mut late = Consumer::new(&connect(&database.url()).await, "late", LEASE);
        // Longer than its lease: what it read is somebody else's by the time it commits.
        late.pause = LEASE * 2;
        members.spawn(late.run());
        for round in 0..20 {
            let batch = events(40, round * 15, 600);
            // Of a commit whose answer was lost nobody knows: a key makes the second try harmless.
            let keyed: Vec<_> =
                batch.into_iter().enumerate().map(|(at, one)| one.key(format!("{round}.{at}"))).collect();
            lasting(async || store.append(&keyed).await).await;
            terminate_some(&database);
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        drained(&store, PATIENCE).await;
        members.shutdown().await;
        assert_eq!(audit(&store).await, (12_000, Wrong::default()), "on {version}");
        store.close().await.unwrap();
    }
}

/// Claims everything and reads it.
async fn take(store: &PostgresStore, name: &str) -> (millstream_core::Member, Vec<PartitionClaim>) {
    let groups = store.groups().unwrap();
    let member = consumer::member(name);
    groups.beat_member(&member, &[]).await.unwrap();
    let claims = groups.claim_partitions(&member, 1_024).await.unwrap();
    (member, claims)
}

/// Handles the first partition's events as an owner would; true: they count.
async fn commit_first(store: &PostgresStore, claim: &PartitionClaim, go: impl AsyncFnOnce()) -> bool {
    let groups = store.groups().unwrap();
    let from = ReadFrom { partition: claim.held.partition, after: claim.position };
    let read = groups.read_partitions(&group(), &[from], 100).await.unwrap();
    let events: Vec<_> = read.events.into_iter().map(|event| event.event).collect();
    assert!(!events.is_empty());
    go().await;
    let step = CursorMove { held: claim.held, from: claim.position, to: read.up_to };
    groups.commit(&group(), &step, &consumer::effects(&events)).await.unwrap()
}

/// To the parent, on a line of its own.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(word: &str) {
    println!("\n{word}");
}

/// The process that is stopped between reading and committing; does nothing where it is not asked to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zombie() {
    let Ok(url) = std::env::var(ZOMBIE) else { return };
    let store = connect(&url).await;
    let (_, claims) = take(&store, "zombie").await;
    let committed = commit_first(&store, &claims[0], async || {
        say("read");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    })
    .await;
    say(&format!("committed {committed}"));
    store.close().await.unwrap();
}

/// The next line that says something to the parent.
fn said(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> String {
    lines.map(Result::unwrap).find(|line| line == "read" || line.starts_with("committed")).expect("the child speaks")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_writes_nothing_when_it_wakes() {
    for (version, database) in world::databases() {
        let store = connect(&database.url()).await;
        store.groups().unwrap().ensure_group(&spec(LEASE, 1)).await.unwrap();
        store.append(&events(5, 0, 20)).await.unwrap();
        store.head().await.unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "faults::zombie", "--nocapture"]).env(ZOMBIE, database.url());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = fault::process::Child::spawn(&mut command).unwrap();
        let mut lines = BufReader::new(child.std().stdout.take().unwrap()).lines();
        assert_eq!(said(&mut lines), "read");
        child.stop().unwrap();
        let claim = loop {
            let (_, claims) = take(&store, "heir").await;
            match claims.first() {
                Some(claim) => break claim.clone(),
                None => tokio::time::sleep(LEASE / 4).await,
            }
        };
        assert!(commit_first(&store, &claim, async || ()).await);
        child.cont().unwrap();
        child.std().stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(said(&mut lines), "committed false", "on {version}");
        assert!(child.std().wait().unwrap().success());
        assert_eq!(audit(&store).await, (20, Wrong::default()), "on {version}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_and_cursors_outlive_a_restart() {
    for version in postgres::available() {
        let mut server = Postgres::start(version).unwrap();
        let store = connect(&server.url()).await;
        let groups = store.groups().unwrap();
        groups.ensure_group(&spec(LEASE, 4)).await.unwrap();
        store.append(&events(8, 0, 80)).await.unwrap();
        let (member, claims) = take(&store, "a").await;
        let failed = claims[0].clone();
        let wait = Duration::from_secs(3_600);
        let counted = groups.fail_partition(&group(), failed.held, failed.position, wait, "no").await.unwrap();
        assert_eq!(counted, Some(1));
        server.restart(Mode::Immediate).unwrap();
        lasting(async || groups.leave(&member).await).await;
        let again = lasting(async || groups.claim_partitions(&member, 4).await).await;
        let same = again.iter().find(|claim| claim.held.partition == failed.held.partition).unwrap();
        assert_eq!((same.attempts, same.position), (1, failed.position));
        assert!(same.held.epoch > failed.held.epoch && same.wait > wait / 2, "{same:?}");
        let moved = CursorMove { held: same.held, from: same.position, to: same.position };
        assert_eq!(groups.advance(&group(), &[moved]).await.unwrap(), [true]);
        groups.leave(&member).await.unwrap();

        let mut members = JoinSet::new();
        members.spawn(Consumer::new(&store, "b", LEASE).run());
        server.restart(Mode::Fast).unwrap();
        lasting(async || store.append(&[events(1, 100, 1).remove(0).key("once")]).await).await;
        drained(&store, PATIENCE).await;
        members.shutdown().await;
        assert_eq!(audit(&store).await, (81, Wrong::default()), "on {version}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_works_behind_a_pooler_with_one_connection() {
    let server = postgres::v15();
    let pooler = Pgbouncer::start(server).unwrap();
    let database = server.create_database();
    let options = PostgresOptions::new(server.url_through(pooler.address(), database.name())).pool_size(1);
    let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
    store.groups().unwrap().ensure_group(&spec(LEASE, 8)).await.unwrap();
    let mut members = JoinSet::new();
    members.spawn(Consumer::new(&store, "a", LEASE).run());
    members.spawn(Consumer::new(&store, "b", LEASE).run());
    for round in 0..5 {
        store.append(&events(20, round * 10, 200)).await.unwrap();
    }
    drained(&store, PATIENCE).await;
    members.shutdown().await;
    assert_eq!(audit(&store).await, (1_000, Wrong::default()));
    store.close().await.unwrap();
}
