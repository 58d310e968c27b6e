//! Enqueue, append and settle in somebody else's transaction.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    Append, Backoff, Effects, Enqueued, EventQuery, EventStore, JobContext, JobError, JobId, JobName, JobState,
    JobStore, NewEvent, NewJob, Outcome, Pattern, Queue, QueueName, QueueProvider, Settlement, Store, StoreOptions,
    Stores, StreamName, Verdict, Want, WorkerManager, WorkerOptions,
};
use millstream_postgres::{PostgresOptions, PostgresStore, SqlCall};
use serde_json::{Value, json};
use tokio_postgres::{Client, Row, types::ToSql};

mod world;

async fn run(client: &Client, call: &SqlCall) -> Result<Vec<Row>, tokio_postgres::Error> {
    let params: Vec<&(dyn ToSql + Sync)> = call.params.iter().map(|param| param as _).collect();
    client.query(&call.text, &params).await
}

fn q() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job(id: &str) -> NewJob {
    NewJob::new(q(), JobName::new("work").unwrap(), json!({ "n": 1.5 })).id(JobId::new(id).unwrap())
}

async fn opened(url: &str, schema: &str) -> (PostgresStore, Client, tokio::task::JoinSet<()>) {
    let options = PostgresOptions::new(url).schema(schema);
    let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
    let (client, driver) = world::connect(url).await;
    (store, client, driver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_there_with_the_callers_commit() {
    for (_, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url(), "calls").await;
        let call = store.enqueue_call(&job("1").attempts(7).priority(-2)).unwrap();
        client.batch_execute("begin").await.unwrap();
        assert!(run(&client, &call).await.unwrap()[0].get::<_, bool>("created"));
        assert_eq!(store.counts(&q()).await.unwrap().total(), 0);
        client.batch_execute("rollback").await.unwrap();
        assert_eq!(store.counts(&q()).await.unwrap().total(), 0);

        assert!(run(&client, &call).await.unwrap()[0].get::<_, bool>("created"));
        assert!(!run(&client, &call).await.unwrap()[0].get::<_, bool>("created"));
        assert_eq!(store.enqueue(&[job("1")]).await.unwrap(), [Enqueued::Duplicate(JobId::new("1").unwrap())]);
        let stored = store.job(&q(), &JobId::new("1").unwrap()).await.unwrap().unwrap();
        assert_eq!((stored.settings.attempts, stored.settings.priority), (7, -2));
        assert_eq!((stored.data, stored.state), (json!({ "n": 1.5 }), JobState::Waiting));

        // Without an id: the database makes the same one as the store.
        let plain = NewJob { id: None, ..job("x") };
        let row = run(&client, &store.enqueue_call(&plain).unwrap()).await.unwrap().remove(0);
        let id = JobId::new(row.get::<_, String>("id")).unwrap();
        assert_eq!(store.job(&q(), &id).await.unwrap().unwrap().id, id);
        let again = NewJob { id: Some(id.clone()), ..plain };
        assert!(!run(&client, &store.enqueue_call(&again).unwrap()).await.unwrap()[0].get::<_, bool>("created"));
        assert_eq!(store.enqueue(&[again]).await.unwrap(), [Enqueued::Duplicate(id)]);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_settled_with_the_callers_commit() {
    for (_, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url(), "settles").await;
        store.enqueue(&[job("1")]).await.unwrap();
        let want = [Want::new(q(), 1)];
        let claimed = store.claim(&want).await.unwrap().remove(0);
        let retry = Outcome::Retry { error: json!("no"), after: Some(std::time::Duration::ZERO) };
        let rows = run(&client, &store.settle_call(&claimed.claim, &retry).unwrap()).await.unwrap();
        assert_eq!(rows[0].get::<_, &str>("state"), "waiting");

        let late = run(&client, &store.settle_call(&claimed.claim, &Outcome::Done(json!(1))).unwrap()).await;
        assert_eq!(late.unwrap_err().code().unwrap().code(), "MS410");
        let claimed = store.claim(&want).await.unwrap().remove(0);
        assert_eq!(claimed.attempt, 2);
        client.batch_execute("begin").await.unwrap();
        let done = store.settle_call(&claimed.claim, &Outcome::Done(json!({ "ok": true }))).unwrap();
        assert_eq!(run(&client, &done).await.unwrap()[0].get::<_, &str>("state"), "completed");
        client.batch_execute("commit").await.unwrap();
        let stored = store.job(&q(), &claimed.claim.job).await.unwrap().unwrap();
        assert_eq!((stored.state, stored.output), (JobState::Completed, Some(json!({ "ok": true }))));
        let counts = store.counts(&q()).await.unwrap();
        assert_eq!((counts.total(), counts.completed), (1, 1));
        let late = Settlement { claim: claimed.claim, outcome: Outcome::Done(json!(2)), effects: Effects::default() };
        assert!(matches!(store.settle(&[late]).await.unwrap()[0], Verdict::LostClaim));
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_there_with_the_callers_commit() {
    for (_, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url(), "appends").await;
        let stream = StreamName::new("orders").unwrap();
        let append = Append::one(stream.clone(), NewEvent::new("paid", json!({ "n": 1 }))).expecting(0).key("k");
        let call = store.append_call(&append).unwrap();
        client.batch_execute("begin").await.unwrap();
        assert_eq!(run(&client, &call).await.unwrap()[0].get::<_, Option<i64>>("version"), Some(1));
        assert_eq!(store.head().await.unwrap(), 0);
        client.batch_execute("commit").await.unwrap();
        assert!(run(&client, &call).await.unwrap()[0].get::<_, bool>("duplicate"));
        let conflict = store.append_call(&Append { key: None, ..append }).unwrap();
        assert_eq!(run(&client, &conflict).await.unwrap_err().code().unwrap().code(), "MS409");
        let events = store.query(&EventQuery::of(Pattern::Exact(stream))).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].id, events[0].version, &*events[0].kind), (1, Some(1), "paid"));

        let direct = "insert into appends.queue_events (id, stream, ts, type, data) values (9, 's', now(), 'e', '{}')";
        let refused = client.batch_execute(direct).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().hint().unwrap().contains("append"), "{refused:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_runs_from_sqlx() {
    for (_, database) in world::databases() {
        let (store, _client, _driver) = opened(&database.url(), "sqlx").await;
        let pool = sqlx::PgPool::connect(&database.url()).await.unwrap();
        for (id, commits) in [("1", false), ("2", true)] {
            let call = store.enqueue_call(&job(id)).unwrap();
            let mut tx = pool.begin().await.unwrap();
            let query = sqlx::query(sqlx::AssertSqlSafe(call.text));
            let query = call.params.iter().fold(query, |query, param| query.bind(param.clone()));
            let row = query.fetch_one(&mut *tx).await.unwrap();
            assert!(sqlx::Row::try_get::<bool, _>(&row, "created").unwrap());
            if commits { tx.commit().await } else { tx.rollback().await }.unwrap();
            let stored = store.job(&q(), &JobId::new(id).unwrap()).await.unwrap();
            assert_eq!(stored.map(|job| job.data), commits.then(|| json!({ "n": 1.5 })));
        }
        pool.close().await;
        store.close().await.unwrap();
    }
}

/// The first attempt fails after its rows and before its commit, the second commits rows and outcome.
async fn book(ctx: JobContext, store: PostgresStore, url: String) -> Result<(), JobError> {
    let (mut client, _driver) = world::connect(&url).await;
    let tx = client.transaction().await?;
    tx.execute("insert into bookings (attempt) values ($1)", &[&i64::from(ctx.attempt())]).await?;
    let call = store.settle_call(ctx.claim(), &Outcome::Done(json!({ "booked": ctx.attempt() })))?;
    let params: Vec<&(dyn ToSql + Sync)> = call.params.iter().map(|param| param as _).collect();
    tx.query_one(&call.text, &params).await?;
    if ctx.attempt() == 1 {
        return Err(JobError::retry("before the commit"));
    }
    tx.commit().await?;
    Err(JobError::settled())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_settles_with_its_own_rows() {
    for (_, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url(), "books").await;
        client.batch_execute("create table bookings (attempt bigint)").await.unwrap();
        let workers = WorkerManager::new(Stores::of(Arc::new(store.clone())), WorkerOptions::default());
        let (own, url) = (store.clone(), database.url());
        let handler = move |_: Value, ctx: JobContext| book(ctx, own.clone(), url.clone());
        workers.register(&q(), &JobName::new("work").unwrap(), handler).unwrap();
        workers.start().await.unwrap();
        store.enqueue(&[job("1").backoff(Backoff::fixed(Duration::ZERO))]).await.unwrap();
        let queue = Queue::new(Arc::new(store.clone()), "q").unwrap();
        let done = queue.finished(&JobId::new("1").unwrap()).await.unwrap().unwrap();
        workers.close_all().await.unwrap();
        assert_eq!((done.state, done.output), (JobState::Completed, Some(json!({ "booked": 2 }))));
        let rows = client.query("select attempt from bookings", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [2]);
        store.close().await.unwrap();
    }
}
