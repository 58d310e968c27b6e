//! What one trial of the conformance suites leaves to the next on the ground that it had: nothing.

#[path = "world/ground.rs"]
mod ground;
#[path = "world/time.rs"]
mod time;
mod world;

use std::{collections::BTreeMap, sync::Arc};

use ground::{Grounds, Lent};
use millstream_core::{
    Append, EventStore as _, GroupSpec, JobName, NewEvent, NewJob, Pattern, QueueName, QueueProvider as _, StateOp,
    StateStore as _, Store as _, StoreOptions, StreamName, Timestamp,
};
use millstream_postgres::{
    PostgresOptions,
    pgboss::{PgBossOptions, PgBossStore},
};
use serde_json::json;

/// More than is deleted row by row.
const MANY: usize = 2_000;

/// Runs a trial in a runtime of its own, as the suites do.
fn trial<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

async fn lend(grounds: &Arc<Grounds>) -> Arc<Lent> {
    let now: Timestamp = "2026-11-21T12:00:30Z".parse().unwrap();
    grounds.lend(now).await.expect("a ground")
}

/// The schema that a trial had, which is the next one's if it is of use.
fn after(grounds: &Arc<Grounds>, work: impl AsyncFnOnce(&Lent)) -> String {
    trial(async {
        let lent = lend(grounds).await;
        work(&lent).await;
        lent.schema().to_owned()
    })
}

fn each(mut test: impl FnMut(&Arc<Grounds>)) {
    for (_, database) in world::databases() {
        test(&Grounds::new(database, true, 0));
    }
}

async fn exists(lent: &Lent, schema: &str) -> bool {
    let row = lent.client().query_one("select to_regnamespace($1) is not null", &[&schema]).await.unwrap();
    row.get(0)
}

/// How many rows each table of the two schemas has, and where each sequence stands.
async fn holds(lent: &Lent) -> BTreeMap<String, String> {
    let client = lent.client();
    let listed = "select n.nspname || '.' || c.relname, replace(n.nspname, $1, '') || '.' || c.relname, c.relkind = 'S' \
                  from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                  where n.nspname in ($1, $1 || '_boss') and c.relkind in ('r', 'S')";
    let mut holds = BTreeMap::new();
    for row in client.query(listed, &[&lent.schema()]).await.unwrap() {
        let (name, plain, is_sequence): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        let text = match is_sequence {
            true => format!("select last_value || ' ' || is_called from {name}"),
            false => format!("select count(*)::text from {name}"),
        };
        holds.insert(plain, client.query_one(&text, &[]).await.unwrap().get(0));
    }
    assert!(holds.len() > 40, "the tables and sequences of both schemas: {holds:?}");
    holds
}

/// Writes to what trials write to: by a store, and behind its back to what every schema holds from the beginning.
async fn use_all(grounds: &Grounds, lent: &Lent) {
    let postgres = PostgresOptions {
        application_name: lent.schema().to_owned(),
        ..PostgresOptions::new(grounds.database().url()).schema(lent.schema())
    };
    let boss = PgBossOptions { postgres, ..PgBossOptions::new("").schema(ground::boss(lent.schema())) };
    let store = PgBossStore::connect(boss, StoreOptions::default()).await.unwrap();
    let (queue, name) = (QueueName::new("q").unwrap(), JobName::new("work").unwrap());
    let jobs: Vec<NewJob> = (0..MANY).map(|n| NewJob::new(queue.clone(), name.clone(), json!({ "n": n }))).collect();
    store.enqueue(&jobs).await.unwrap();
    let stream = StreamName::new("s").unwrap();
    let events = (0..MANY).map(|n| NewEvent::new("e", json!(n))).collect();
    store.append(&[Append { events, ..Append::one(stream, NewEvent::new("e", json!(0))) }]).await.unwrap();
    store.apply(&[StateOp::Set { key: "k".into(), value: json!(1), ttl: None }]).await.unwrap();
    let spec = GroupSpec::new(millstream_core::GroupName::new("g").unwrap(), Pattern::new("*").unwrap());
    store.groups().unwrap().ensure_group(&spec).await.unwrap();
    store.close().await.unwrap();
    let schema = lent.schema();
    lent.run(&format!(
        "delete from {schema}.migration where version > 1; update {schema}.event_head set first_pos = 7; \
         update {schema}.event_partition set closed_at = {schema}.now(); delete from {schema}_boss.version; \
         select nextval(c.oid::regclass) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = '{schema}' and c.relkind = 'S'"
    ))
    .await
    .unwrap();
}

#[test]
fn a_ground_comes_back_as_it_was() {
    each(|grounds| {
        let mut fresh = BTreeMap::new();
        let had = after(grounds, async |lent| {
            fresh = holds(lent).await;
            use_all(grounds, lent).await;
            let used = holds(lent).await;
            let changed = fresh.iter().filter(|(name, held)| used.get(*name) != Some(*held)).count();
            assert!(changed > 10, "what a trial changes: {used:?}");
            lent.finished();
        });
        trial(async {
            let lent = lend(grounds).await;
            assert_eq!(lent.schema(), had, "the ground that it had");
            assert_eq!(holds(&lent).await, fresh);
        });
    });
}

#[test]
fn a_ground_of_another_shape_is_dropped() {
    let changes = [
        "create table {s}.more ()",
        "create function {s}.more() returns integer language sql as 'select 1'",
        "alter table {s}.queue add column more integer",
        "alter table {s}.migration add check (version > 0)",
        "create index on {s}.queue (name, id)",
        "drop table {s}_boss.warning",
        "create or replace function {s}.now() returns timestamptz language sql volatile parallel safe \
         as 'select clock_timestamp()'",
        "create trigger more before insert on {s}.queue for each statement execute function {s}.refuse_event_write()",
        "select {s}_boss.create_queue('q', '{\"partition\": true, \"policy\": \"standard\"}')",
    ];
    each(|grounds| {
        for change in changes {
            let had = after(grounds, async |lent| {
                lent.run(&change.replace("{s}", lent.schema())).await.unwrap();
                lent.finished();
            });
            after(grounds, async |lent| {
                assert!(!exists(lent, &had).await, "after: {change}");
                lent.finished();
            });
        }
    });
}

#[test]
fn a_ground_of_a_trial_that_did_not_finish_is_dropped() {
    each(|grounds| {
        let had = after(grounds, async |_| ());
        trial(async { assert!(!exists(&*lend(grounds).await, &had).await) });
    });
}

/// It might write to what the next trial has.
#[test]
fn a_ground_is_dropped_with_a_session_that_stays() {
    each(|grounds| {
        let (mut left, home) = (None, tokio::runtime::Runtime::new().unwrap());
        let had = after(grounds, async |lent| {
            let url = format!("{}?application_name={}", grounds.database().url(), lent.schema());
            left = Some(home.spawn(async move { world::connect(&url).await }).await.unwrap());
            lent.finished();
        });
        trial(async { assert!(!exists(&*lend(grounds).await, &had).await) });
        let (client, _driver) = left.expect("the session");
        assert!(home.block_on(client.batch_execute("select 1")).is_err(), "the session was ended");
    });
}
