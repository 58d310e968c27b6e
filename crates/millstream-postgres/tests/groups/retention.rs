//! The log's partitions: made ahead, dropped behind whoever needs them, and never in the way of an append.

use std::time::Duration;

use millstream_core::{
    Append, BoxStream, Error, Event, EventQuery, EventStore, GroupSpec, NewEvent, Pattern, ReadFrom, Result, Retention,
    StartFrom, Store, StoreOptions, StreamName,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use serde_json::json;

use crate::{
    consumer::{self, group, spec},
    world,
};

/// Positions of a new log's first partitions.
const PARTITION: u64 = 10_000;
/// Everything that is full goes at once.
const NOW: Retention = Retention { age: None, bytes: Some(1), events: None };

async fn connect(url: &str, retention: Retention) -> PostgresStore {
    let options = PostgresOptions::new(url).retention_every(Duration::ZERO);
    PostgresStore::connect(options, StoreOptions { retention, ..StoreOptions::default() }).await.unwrap()
}

/// Appends so many events of `in:s`, and has them numbered.
async fn fill(store: &PostgresStore, count: u64) -> u64 {
    let stream = StreamName::new("in:s").unwrap();
    let mut left = count;
    while left > 0 {
        let now = left.min(PARTITION);
        let events = (0..now).map(|_| NewEvent::new("e", json!(1))).collect();
        store.append(&[Append { events, ..Append::one(stream.clone(), NewEvent::new("e", json!(1))) }]).await.unwrap();
        left -= now;
    }
    store.head().await.unwrap()
}

async fn next(events: &mut BoxStream<Result<Event>>) -> Result<Event> {
    let next = std::future::poll_fn(|cx| events.as_mut().poll_next(cx));
    tokio::time::timeout(Duration::from_secs(30), next).await.expect("the subscription answers").unwrap()
}

async fn first(store: &PostgresStore) -> u64 {
    next(&mut store.subscribe(&Pattern::All, StartFrom::Start).await.unwrap()).await.unwrap().id
}

fn page(after: Option<u64>) -> EventQuery {
    EventQuery { after, ..EventQuery::of(Pattern::All) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_stays_while_a_group_lags_and_its_loss_is_told() {
    for (version, database) in world::databases() {
        let store = connect(&database.url(), NOW).await;
        let groups = store.groups().unwrap();
        groups.ensure_group(&spec(Duration::from_secs(30), 1)).await.unwrap();
        let loose = millstream_core::GroupName::new("loose").unwrap();
        let all = GroupSpec { partitions: 1, retain: false, ..GroupSpec::new(loose.clone(), Pattern::All) };
        groups.ensure_group(&all).await.unwrap();
        let head = fill(&store, 2 * PARTITION + 5).await;
        assert_eq!(head, 2 * PARTITION + 5);
        let mut behind = store.subscribe(&Pattern::All, StartFrom::Start).await.unwrap();
        assert_eq!(next(&mut behind).await.unwrap().id, 1);
        store.sweep().await.unwrap();
        assert_eq!(first(&store).await, 1, "a group that retains has done nothing, on {version}");

        // Half a partition done: still all of it is needed. An event put aside is needed, too.
        let member = consumer::member("a");
        groups.beat_member(&member, &[]).await.unwrap();
        let claim = groups.claim_partitions(&member, 1).await.unwrap().remove(0);
        let to = |from, to| millstream_core::CursorMove { held: claim.held, from, to };
        groups.advance(&group(), &[to(0, PARTITION / 2)]).await.unwrap();
        store.sweep().await.unwrap();
        assert_eq!(first(&store).await, 1);
        let aside = millstream_core::ParkedNow {
            position: PARTITION + 1,
            stream: StreamName::new("in:s").unwrap(),
            stops_stream: false,
            error: "no".into(),
            attempts: 5,
        };
        assert!(groups.park(&group(), &to(PARTITION / 2, head), &[aside]).await.unwrap());
        assert_eq!(store.sweep().await.unwrap(), 1);
        assert_eq!(first(&store).await, PARTITION + 1);

        let gone = |answer: Result<()>| match answer {
            Err(Error::Truncated { first, .. }) => assert_eq!(first, PARTITION + 1),
            other => panic!("{other:?} on {version}"),
        };
        let from = [ReadFrom { partition: 0, after: 0 }];
        gone(groups.read_partitions(&loose, &from, 10).await.map(drop));
        gone(store.query(&page(Some(0))).await.map(drop));
        gone(store.subscribe(&Pattern::All, StartFrom::After(9)).await.map(drop));
        gone(groups.reset_group(&group(), StartFrom::After(0)).await.map(drop));
        assert_eq!(store.query(&page(None)).await.unwrap()[0].id, PARTITION + 1);
        assert_eq!(store.query(&page(Some(PARTITION))).await.unwrap()[0].id, PARTITION + 1);
        // A subscription that was too slow ends with the reason, and skips nothing before.
        let mut last = 1;
        let end = loop {
            match next(&mut behind).await {
                Ok(event) => {
                    assert_eq!(event.id, last + 1);
                    last = event.id;
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(end, Error::Truncated { .. }), "{end}");

        assert_eq!(groups.reset_group(&group(), StartFrom::Now).await.unwrap(), head);
        assert!(groups.delete_group(&loose).await.unwrap());
        store.sweep().await.unwrap();
        assert_eq!(first(&store).await, PARTITION + 1, "what is put aside stays");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_transaction_older_than_the_retention_are_delivered() {
    for (version, database) in world::databases() {
        let hour = Duration::from_secs(3_600);
        let store = connect(&database.url(), Retention { age: Some(hour), ..NOW }).await;
        let (client, _driver) = world::connect(&database.url()).await;
        let late = store.append_call(&consumer::events(1, 0, 1).remove(0)).unwrap();
        let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            late.params.iter().map(|param| param as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        client.batch_execute("begin").await.unwrap();
        client.query(&late.text, &params).await.unwrap();
        // Its time of intake is long past the retention when it commits, with a partition full around it.
        client
            .batch_execute("update millstream.queue_event_inbox set ts = ts - interval '1 day'; commit")
            .await
            .unwrap();
        fill(&store, PARTITION).await;
        let by_age = connect(&database.url(), Retention { age: Some(hour), ..Retention::default() }).await;
        by_age.sweep().await.unwrap();
        let found = first(&by_age).await;
        assert_eq!(found, 1, "on {version}");
        // An hour after the partition was full it goes.
        let old = "update millstream.event_partition set closed_at = closed_at - interval '61 minutes'
                   where closed_at is not null";
        client.batch_execute(old).await.unwrap();
        assert_eq!(by_age.sweep().await.unwrap(), 1);
        assert_eq!(first(&by_age).await, PARTITION + 1, "on {version}");
        store.close().await.unwrap();
        by_age.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_append_waits_for_a_partition_that_goes_while_it_is_read() {
    for (version, database) in world::databases() {
        let store = connect(&database.url(), NOW).await;
        let writer = connect(&database.url(), Retention::default()).await;
        fill(&store, PARTITION + 5).await;
        let (reader, _driver) = world::connect(&database.url()).await;
        reader.batch_execute("begin; select count(*) from millstream.queue_events").await.unwrap();
        let mut sweeping = tokio::task::JoinSet::new();
        sweeping.spawn({
            let store = store.clone();
            async move { store.sweep().await }
        });
        let mut slowest = Duration::ZERO;
        let clock = millstream_core::SystemClock::new();
        let mut version_of = 0;
        let now = || millstream_core::Clock::monotonic(&clock);
        let swept = loop {
            if let Some(swept) = sweeping.try_join_next() {
                break swept;
            }
            let begun = now();
            // Under a condition it reads the log, too, in the caller's transaction.
            let stream = StreamName::new("busy").unwrap();
            let event = Append::one(stream, NewEvent::new("e", json!(1))).expecting(version_of);
            writer.append(&[event]).await.unwrap();
            version_of += 1;
            writer.head().await.unwrap();
            slowest = slowest.max(now() - begun);
        };
        assert_eq!(swept.unwrap().unwrap(), 0, "it is being read, on {version}");
        assert!(slowest < Duration::from_millis(2_000), "an append waited {slowest:?} on {version}");
        // Nobody is told anything of what went, though the table is still there for the reader.
        assert_eq!(first(&writer).await, PARTITION + 1);
        reader.batch_execute("commit").await.unwrap();
        // What the writer filled meanwhile goes, too.
        assert!(store.sweep().await.unwrap() >= 1, "on {version}");
        let left = "select count(*) from pg_class where relname = 'queue_events_p1'";
        assert_eq!(reader.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
        store.close().await.unwrap();
        writer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_partition_appends_go_on_and_the_order_is_kept() {
    for (version, database) in world::databases() {
        let store = connect(&database.url(), Retention::default()).await;
        let (client, _driver) = world::connect(&database.url()).await;
        // Somebody's table is where the next partition is to be made.
        let next_one = 3 * PARTITION + 1;
        client.batch_execute(&format!("create table millstream.queue_events_p{next_one} ()")).await.unwrap();
        fill(&store, 3 * PARTITION - 10).await;
        let stream = StreamName::new("in:late").unwrap();
        for n in 0..30 {
            store.append(&[Append::one(stream.clone(), NewEvent::new("e", json!(n)))]).await.unwrap();
        }
        let refused = store.query(&page(None)).await.unwrap_err();
        assert!(refused.is_transient(), "{refused} on {version}");
        client.batch_execute(&format!("drop table millstream.queue_events_p{next_one}")).await.unwrap();
        let found = store.query(&EventQuery::of(Pattern::Exact(stream))).await.unwrap();
        let numbers: Vec<i64> = found.iter().map(|event| event.data.as_i64().unwrap()).collect();
        assert_eq!(numbers, (0..30).collect::<Vec<i64>>(), "on {version}");
        assert_eq!(store.head().await.unwrap(), 3 * PARTITION + 20);
        // With the next sweep two are ahead again.
        store.sweep().await.unwrap();
        let ahead =
            "select count(*) from millstream.event_partition where first_id > (select pos from millstream.event_head)";
        assert!(client.query_one(ahead, &[]).await.unwrap().get::<_, i64>(0) >= 2);
        store.close().await.unwrap();
    }
}
