//! A schema of every version that was ever in use comes up to this build, with what is in it.
//!
//! The dumps are in `tests/dumps`, named by their schema's version. `MILLSTREAM_WRITE_DUMP=1` writes the one of this
//! build; it needs `pg_dump` of version 15 or newer on the path. A dump that is there is never written again: it is what
//! somebody has.

use std::{path::PathBuf, process::Command, time::Duration};

use millstream_core::{
    Append, Effects, EventQuery, EventStore, JobId, JobName, JobStore, LEASE_MIN, NewEvent, NewJob, Outcome, Pattern,
    QueueName, QueueProvider, Retention, Schedule, Settlement, StateOp, StateStore, Store, StoreOptions, StreamName,
    Verdict, Want, limits::DELAY_MAX,
};
use millstream_postgres::{PostgresOptions, PostgresStore, schema};
use millstream_servers::postgres;
use serde_json::json;

#[path = "world/book.rs"]
mod book;
mod world;

fn q() -> QueueName {
    QueueName::new("q").unwrap()
}

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn job(text: &str) -> NewJob {
    NewJob::new(q(), JobName::new("work").unwrap(), json!({ "n": text })).id(id(text))
}

fn append() -> Append {
    let stream = StreamName::new("orders/1").unwrap();
    Append::one(stream, NewEvent::new("placed", json!({ "total": 9 })))
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dumps")
}

/// What the log keeps where the schema knows of it: nothing that the test has is past it.
fn kept() -> Retention {
    Retention { age: Some(DELAY_MAX), events: Some(1_000), ..Retention::default() }
}

/// The version whose schema knows of retention, and the one that knows of limits on groups.
const RETENTION: u32 = 6;
const LIMITS: u32 = 7;
/// A limit as a store on pg-boss's tables sets it.
const LIMIT: &str = "insert into millstream.boss_limit (boss, queue, at_most) values ('pgboss', 'mail', 3);";
/// That it is there.
const LIMITED: &str = "do $$ begin assert exists (select from millstream.boss_limit \
                       where boss = 'pgboss' and queue = 'mail' and at_most = 3); end $$;";

/// One of everything.
async fn fill(store: &PostgresStore) {
    store.enqueue(&["done", "failed", "active"].map(job)).await.unwrap();
    let claimed = store.claim(&[Want::new(q(), 3)]).await.unwrap();
    let outcomes = [Outcome::Done(json!("fine")), Outcome::Fail(json!("broken"))];
    let settlements = claimed.iter().zip(outcomes).map(|(claimed, outcome)| Settlement {
        claim: claimed.claim.clone(),
        outcome,
        effects: Effects::default(),
    });
    store.settle(&settlements.collect::<Vec<_>>()).await.unwrap();
    store.enqueue(&[job("waiting"), job("delayed").delay(Duration::from_secs(1))]).await.unwrap();
    let nightly = Schedule::new(q(), "nightly", "0 3 * * *", JobName::new("work").unwrap());
    store.schedule_upsert(&nightly).await.unwrap();
    store.append(&[append().expecting(0), append().expecting(1), append().key("k")]).await.unwrap();
    store.apply(&[StateOp::Set { key: "run/1".into(), value: json!([1, 2]), ttl: None }]).await.unwrap();
}

/// What [`fill`] put there, and that it can be worked on.
async fn check(store: &PostgresStore, dump: &str) {
    let counts = store.counts(&q()).await.unwrap();
    assert_eq!((counts.completed, counts.failed, counts.total()), (1, 1, 5), "{dump}: {counts:?}");
    let done = store.job(&q(), &id("done")).await.unwrap().unwrap();
    assert_eq!((done.data, done.output), (json!({ "n": "done" }), Some(json!("fine"))), "{dump}");
    let failed = store.job(&q(), &id("failed")).await.unwrap().unwrap();
    assert_eq!(failed.error, Some(json!("broken")), "{dump}");
    assert!(!store.enqueue(&[job("done")]).await.unwrap()[0].is_created(), "{dump}: its id is taken");
    // Whoever held it is long gone, and what waited for its time has waited enough.
    assert_eq!(store.rescue().await.unwrap(), 1, "{dump}");
    store.promote_due().await.unwrap();
    let claimed = store.claim(&[Want::new(q(), 10)]).await.unwrap();
    let settlements = claimed.iter().map(|claimed| Settlement {
        claim: claimed.claim.clone(),
        outcome: Outcome::Done(json!(null)),
        effects: Effects::default(),
    });
    let verdicts = store.settle(&settlements.collect::<Vec<_>>()).await.unwrap();
    assert!(!verdicts.is_empty() && verdicts.iter().all(|one| matches!(one, Verdict::Settled(_))), "{dump}");
    assert_eq!(store.schedules(Some(&q())).await.unwrap().len(), 1, "{dump}");

    let events = store.query(&EventQuery::of(Pattern::All)).await.unwrap();
    assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), [1, 2, 3], "{dump}");
    store.append(&[append().key("k")]).await.unwrap();
    assert_eq!(store.head().await.unwrap(), 3, "{dump}: the key was used");
    assert!(store.append(&[append().expecting(0)]).await.is_err(), "{dump}: the stream is further");
    store.append(&[append()]).await.unwrap();
    assert_eq!(store.query(&EventQuery::of(Pattern::All)).await.unwrap().len(), 4, "{dump}");
    assert_eq!(store.get("run/1").await.unwrap(), Some(json!([1, 2])), "{dump}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dump_comes_up_to_this_build() {
    write_missing().await;
    let mut dumps: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    dumps.sort();
    assert!(!dumps.is_empty(), "there are dumps");
    for path in dumps {
        let version: u32 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        for (server, database) in world::databases() {
            let name = format!("{} on {server}", path.display());
            database.run(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let options = PostgresOptions::new(database.url());
            let before = schema::status(&options).await.unwrap();
            assert_eq!(before.found, Some(version), "{name}");
            let store = PostgresStore::connect(options.clone(), StoreOptions::default()).await.unwrap();
            assert!(schema::status(&options).await.unwrap().is_current(), "{name}");
            database.run(&book::booked("millstream")).unwrap();
            check(&store, &name).await;
            if version >= RETENTION {
                assert_eq!(store.retention().await.unwrap().retention, kept(), "{name}");
            }
            if version >= LIMITS {
                database.run(LIMITED).unwrap();
            }
            store.close().await.unwrap();
        }
    }
}

/// The version from which on claims are booked.
const BOOKED: u32 = 8;

/// Jobs that ran when the schema came up are found when their leases are over, whichever of them anybody renewed; and who
/// still claims in the way of an earlier version is refused, and takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ran_before_the_book_is_in_it() {
    let before = std::fs::read_to_string(folder().join(format!("{:04}.sql", BOOKED - 1))).unwrap();
    for (server, database) in world::databases() {
        database.run(&before).unwrap();
        // Beside the one that ran out long ago: 40 of another queue whose leases end in an hour, and 3 that wait.
        database
            .run(
                "insert into millstream.queue (name) values ('other');
                 insert into millstream.job (queue, id, name, data, created_at)
                     select 2, nextval('millstream.job_seq'), 'work', '1', now() from generate_series(1, 43);
                 insert into millstream.job_live (queue, job, state, priority, seq, run_at, attempt, attempts)
                     select 2, j.id, 'w', 0, j.id, now(), 0, 3 from millstream.job j where j.queue = 2;
                 update millstream.job_live l set state = 'a', attempt = 1, claim = nextval('millstream.claim_seq') << 16,
                        started_at = now(), lease_until = now() + interval '1 hour'
                 where l.queue = 2 and l.job in (
                     select l.job from millstream.job_live l where l.queue = 2 order by l.seq limit 40);
                 insert into millstream.queue_tally (queue, waiting, active) values (2, 3, 40);",
            )
            .unwrap();
        let store =
            PostgresStore::connect(PostgresOptions::new(database.url()), StoreOptions::default()).await.unwrap();
        database.run(&book::booked("millstream")).unwrap();
        let refused = database.run("select nextval('millstream.claim_seq')").unwrap_err();
        assert!(refused.to_string().contains("claim_seq"), "on {server}: {refused}");
        assert_eq!(store.rescue().await.unwrap(), 1, "on {server}");
        let other = QueueName::new("other").unwrap();
        let claimed = store.claim(&[Want::new(other.clone(), 100)]).await.unwrap();
        assert_eq!(claimed.len(), 3, "on {server}");
        assert_eq!(store.rescue().await.unwrap(), 0, "on {server}");
        database
            .run(
                "update millstream.job_live set lease_until = now() where lease_until > now() + interval '10 minutes';
                 update millstream.job_book set until = now() where until > now() + interval '10 minutes'",
            )
            .unwrap();
        assert_eq!(store.rescue().await.unwrap(), 40, "on {server}");
        database.run(&book::booked("millstream")).unwrap();
        let counts = store.counts(&other).await.unwrap();
        assert_eq!((counts.waiting, counts.active), (40, 3), "on {server}: {counts:?}");
        store.close().await.unwrap();
    }
}

/// Writes the dump of this build, if that is asked for and there is none.
async fn write_missing() {
    if std::env::var_os("MILLSTREAM_WRITE_DUMP").is_none() {
        return;
    }
    let database = postgres::v15().create_database();
    let options = PostgresOptions::new(database.url());
    // Who restores it is later than the lease.
    let short = StoreOptions { lease: LEASE_MIN, ..StoreOptions::default() };
    let store = PostgresStore::connect(options.clone(), short).await.unwrap();
    let version = schema::status(&options).await.unwrap().supported;
    let file = folder().join(format!("{version:04}.sql"));
    if !file.exists() {
        fill(&store).await;
        if version >= RETENTION {
            store.set_retention(Some(&kept())).await.unwrap();
        }
        if version >= LIMITS {
            database.run(LIMIT).unwrap();
        }
        // Numbered by now, not on their way.
        store.head().await.unwrap();
        let mut dump = Command::new("pg_dump");
        dump.args(["--schema=millstream", "--inserts", "--no-owner", "--no-privileges"]).arg(database.url());
        let dumped = dump.output().expect("pg_dump is on the path");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        // Without comments, and without the words that are psql's.
        let text = String::from_utf8(dumped.stdout).unwrap();
        let kept = text.lines().filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\'));
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&file, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    store.close().await.unwrap();
}
