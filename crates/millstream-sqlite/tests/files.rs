//! What may be opened, what is refused and how, and what a file keeps.

mod world;

use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};

use millstream_core::{
    Append, Error, EventStore, GroupName, GroupSpec, GroupStore, NewEvent, Pattern, QueueProvider, Realm, Retention,
    StateOp, StateStore, Store, StoreOptions, StreamName,
};
use millstream_sqlite::{SqliteStore, schema};
use rusqlite::Connection;
use serde_json::json;
use tokio::task::JoinSet;
use world::*;

async fn refused(path: impl AsRef<Path>) -> Error {
    match SqliteStore::open(path, StoreOptions::default()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_what_to_do() {
    let world = World::new();
    world.open().await.close().await.unwrap();
    Connection::open(world.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(world.path()).await;
    assert!(matches!(error, Error::Schema { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "sqlite has schema version 99, expected 3 or older: a newer millstream wrote this file: upgrade this program"
    );
    assert!(matches!(schema::status(world.path()), Err(Error::Schema { .. })));
}

/// A claim that has run out as it is taken would be everybody's; one that never does would be a dead worker's for ever.
#[tokio::test]
async fn a_lease_that_nobody_could_hold_is_refused() {
    let world = World::new();
    for lease in [Duration::from_millis(99), Duration::MAX] {
        let options = || StoreOptions { lease, ..StoreOptions::default() };
        let wanted = format!("invalid lease: got {lease:?}, expected 100ms to a day");
        for refused in [SqliteStore::open(world.path(), options()).await.err(), SqliteStore::memory(options()).err()] {
            assert_eq!(refused.map(|error| error.to_string()).as_ref(), Some(&wanted));
        }
    }
    assert!(!world.path().exists(), "nothing was made");
}

#[tokio::test]
async fn what_is_no_file_of_ours_is_refused_by_name() {
    let world = World::new();
    let folder = world.path().parent().unwrap().to_owned();
    assert!(refused(&folder).await.to_string().ends_with("is a directory: name a file"));

    let device = refused("/dev/null").await.to_string();
    assert_eq!(device, "`/dev/null` is a pipe, a socket or a device: name a file");
    let memory = refused(":memory:").await.to_string();
    assert_eq!(memory, "`:memory:` is not a file: a store in memory is opened as such");
    let missing = refused(folder.join("no/jobs.db")).await.to_string();
    assert!(missing.contains("cannot be created: there is no directory"), "{missing}");

    let text = folder.join("notes.txt");
    fs::write(&text, "not a database, but long enough to have been one".repeat(100)).unwrap();
    assert!(refused(&text).await.to_string().ends_with("is not a SQLite database"));

    let other = folder.join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(refused(&other).await.to_string().contains("is another program's SQLite database"));
    let journal: String =
        Connection::open(&other).unwrap().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(journal, "delete", "a refused file is left as it was");
}

#[test]
fn the_schema_is_looked_at_and_brought_up() {
    let world = World::new();
    let none = schema::status(world.path()).unwrap();
    assert_eq!((none.found, none.supported, none.is_current()), (None, 3, false));
    assert!(none.pending_sql().contains("CREATE TABLE job_live"));
    assert!(!world.path().exists(), "a look changes nothing");

    let up = schema::up(world.path()).unwrap();
    assert!(up.is_current() && up.pending_sql().is_empty());
    assert_eq!(schema::status(world.path()).unwrap(), up);
    assert_eq!(schema::up(world.path()).unwrap(), up, "again is fine");
}

/// A file of the first schema goes on with all it holds.
#[tokio::test]
async fn an_older_file_is_brought_up() {
    let world = World::new();
    let old = Connection::open(world.path()).unwrap();
    old.execute_batch(include_str!("../migrations/0001_begin.sql")).unwrap();
    let event = "INSERT INTO queue_events (id, stream, version, ts, type, data) VALUES (1, 's', 1, 0, 'e', 'null');
        INSERT INTO event_stream (stream, version) VALUES ('s', 1);
        INSERT INTO ledger (id, store, event_head) VALUES (1, 'old', 1);";
    old.execute_batch(event).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.pragma_update(None, "application_id", 0x4d69_6c6c).unwrap();
    drop(old);
    let status = schema::status(world.path()).unwrap();
    assert_eq!((status.found, &*status.pending), (Some(1), &["0002_groups", "0003_retention"][..]));

    let store = world.open().await;
    assert_eq!(store.head().await.unwrap(), 1);
    let group = GroupName::new("g").unwrap();
    assert!(store.ensure_group(&GroupSpec::new(group.clone(), Pattern::All)).await.unwrap());
    assert_eq!(store.group(&group).await.unwrap().unwrap().lag, 1);
    store.close().await.unwrap();
    let view = Connection::open(world.path()).unwrap();
    let row = "SELECT stream_pattern, consumer_group, consumer_name, last_id FROM queue_event_subscriptions";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, Option<String>>(2)?,
            row.get::<_, i64>(3)?,
        ))
    };
    assert_eq!(view.query_row(row, [], read).unwrap(), ("*".to_owned(), "g".to_owned(), None, 0));
}

/// Whoever looks while another creates the schema sees all of it or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_new_file_at_once() {
    for _ in 0..10 {
        let world = Arc::new(World::new());
        let mut opens = JoinSet::new();
        for n in 0..8 {
            let world = world.clone();
            opens.spawn(async move {
                let store = world.open().await;
                store.enqueue(&[named("mail", &n.to_string())]).await.unwrap();
                store.realm().clone()
            });
        }
        let realms: HashSet<Realm> = opens.join_all().await.into_iter().collect();
        assert_eq!(realms.len(), 1);
        assert_eq!(world.open().await.counts(&queue("mail")).await.unwrap().waiting, 8);
    }
}

#[tokio::test]
async fn stores_that_share_no_commit_share_no_realm() {
    let (world, other) = (World::new(), World::new());
    let realms =
        [world.memory(), world.memory(), world.open().await, other.open().await].map(|store| store.realm().clone());
    assert_eq!(realms.iter().collect::<HashSet<_>>().len(), 4, "{realms:?}");
}

#[tokio::test]
async fn a_file_keeps_everything() {
    let world = World::new();
    let store = world.open().await;
    store.enqueue(&[named("mail", "a"), named("mail", "b")]).await.unwrap();
    store.pause(&queue("mail")).await.unwrap();
    let event = Append::one(StreamName::new("s").unwrap(), NewEvent::new("t", json!({})));
    store.append(&[event.clone().key("once")]).await.unwrap();
    store.apply(&[StateOp::Set { key: "k".into(), value: json!([1]), ttl: None }]).await.unwrap();
    let realm = store.realm().clone();
    store.close().await.unwrap();

    let store = world.open().await;
    assert_eq!(*store.realm(), realm);
    let counts = store.counts(&queue("mail")).await.unwrap();
    assert_eq!((counts.waiting, counts.paused), (2, 2));
    assert!(!store.enqueue(&[named("mail", "a")]).await.unwrap()[0].is_created());
    let again = store.append(&[event.clone().key("once"), event]).await.unwrap();
    assert_eq!((again[0].duplicate, again[0].positions), (true, Some((1, 1))));
    assert_eq!(again[1].positions, Some((2, 2)), "positions go on");
    assert_eq!(store.get("k").await.unwrap(), Some(json!([1])));
}

/// What a crash leaves is the file and its log as they are: no close, no checkpoint.
#[tokio::test]
async fn what_was_acknowledged_survives_a_crash() {
    let world = World::new();
    let store = world.open().await;
    for _ in 0..20 {
        store.enqueue(&[job("mail")]).await.unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    for end in ["", "-wal"] {
        let name = format!("jobs.db{end}");
        fs::copy(world.path().with_file_name(&name), crashed.path().join(&name)).unwrap();
    }
    let copy = SqliteStore::open(crashed.path().join("jobs.db"), world.options()).await.unwrap();
    assert_eq!(copy.counts(&queue("mail")).await.unwrap().waiting, 20);
    assert_eq!(claim(&copy, "mail", 100).await.len(), 20);
}

/// A long log goes a thousand events a transaction: others write in between. What cannot be measured is refused as the
/// file is opened.
#[tokio::test]
async fn old_events_go_in_small_transactions() {
    let world = World::new();
    let retention = Retention { events: Some(500), ..Retention::default() };
    let options = StoreOptions { retention, ..world.options() };
    let store = SqliteStore::open(world.path(), options.clone()).await.unwrap();
    let event = NewEvent::new("e", json!(1));
    let events = vec![event.clone(); 3_000];
    store.append(&[Append { events, ..Append::one(StreamName::new("s").unwrap(), event) }]).await.unwrap();
    let before = store.commits();
    assert_eq!(store.sweep().await.unwrap(), 2_500);
    assert!(store.commits() - before >= 3, "{} commits", store.commits() - before);
    let info = store.retention().await.unwrap();
    assert_eq!((info.first, info.head, info.due), (2_501, 3_000, 0));
    store.close().await.unwrap();

    let bytes = StoreOptions { retention: Retention { bytes: Some(1), ..retention }, ..options };
    let refused = SqliteStore::open(world.path(), bytes).await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
}
