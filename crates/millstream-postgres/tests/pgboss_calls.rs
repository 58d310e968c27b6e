//! Settling a claim on pg-boss's tables in somebody else's transaction.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    Append, Backoff, ClaimRef, Claimed, Effects, JobContext, JobError, JobId, JobName, JobState, JobStore, NewEvent,
    NewJob, Outcome, Queue, QueueName, QueueProvider, Removal, Settlement, Stores, StreamName, Verdict, Want,
    WorkerManager, WorkerOptions,
};
use millstream_postgres::{
    SqlCall,
    pgboss::{PgBossStore, QueueSettings},
};
use serde_json::{Value, json};
use tokio_postgres::{Client, types::ToSql};

#[path = "world/boss.rs"]
mod boss;
mod world;

use boss::{World, q, worlds};

/// The state that a call answers, or the SQLSTATE that it is refused with.
async fn run(client: &Client, call: &SqlCall) -> String {
    let params: Vec<&(dyn ToSql + Sync)> = call.params.iter().map(|param| param as _).collect();
    let answer = client.query_one(&call.text, &params).await;
    match answer {
        Ok(row) => row.get("state"),
        Err(error) => error.code().expect("the server answers").code().to_owned(),
    }
}

fn job(id: &str) -> NewJob {
    NewJob::new(q(), JobName::new("work").unwrap(), json!({ "n": 1 })).id(JobId::new(id).unwrap())
}

impl World {
    async fn claim(&self) -> Claimed {
        self.store.claim(&[Want::new(q(), 1)]).await.unwrap().remove(0)
    }

    async fn settle(&self, claim: &ClaimRef, outcome: Outcome) -> String {
        run(&self.client, &self.store.settle_call(claim, &outcome).await.unwrap()).await
    }

    async fn look(&self, id: &str) -> millstream_core::Job {
        self.store.job(&q(), &JobId::new(id).unwrap()).await.unwrap().expect("the job is there")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_settled_with_the_callers_commit() {
    for world in worlds().await {
        let backoff = Backoff::fixed(Duration::from_millis(3_600_500));
        world.store.enqueue(&[job("1").attempts(5).backoff(backoff)]).await.unwrap();
        let first = world.claim().await.claim;
        let retry = Outcome::Retry { error: json!("no"), after: Some(Duration::ZERO) };
        assert_eq!(world.settle(&first, retry).await, "waiting", "on {}", world.version);
        let done = Outcome::Done(json!({ "ok": true }));
        assert_eq!(world.settle(&first, done.clone()).await, "MS410", "on {}", world.version);

        let second = world.claim().await;
        assert_eq!(second.attempt, 2);
        // Of the row's next claim, and not of this one; of no claim at all.
        assert_eq!(world.settle(&first, done.clone()).await, "MS410", "on {}", world.version);
        let strange = ClaimRef { token: "1.1".into(), ..second.claim.clone() };
        assert_eq!(world.settle(&strange, done.clone()).await, "MS410", "on {}", world.version);
        world.run("begin").await;
        assert_eq!(world.settle(&second.claim, done.clone()).await, "completed");
        world.run("rollback").await;
        assert_eq!(world.look("1").await.state, JobState::Active, "nothing of a rollback stays on {}", world.version);

        // By its own backoff, to the millisecond.
        let tired = Outcome::Retry { error: json!("tired"), after: None };
        assert_eq!(world.settle(&second.claim, tired).await, "delayed");
        let stored = world.look("1").await;
        assert_eq!((stored.state, stored.error), (JobState::Delayed, Some(json!("tired"))), "on {}", world.version);
        let wait = "select (extract(epoch from start_after - now()) > 3590)::integer::bigint as far from pgboss.job";
        assert_eq!(world.client.query_one(wait, &[]).await.unwrap().get::<_, i64>(0), 1);
        assert!(world.store.promote(&q(), &JobId::new("1").unwrap()).await.unwrap());

        let third = world.claim().await;
        let hour = Duration::from_secs(3_600);
        assert_eq!(world.settle(&third.claim, Outcome::Snooze(hour)).await, "delayed");
        assert!(world.store.promote(&q(), &JobId::new("1").unwrap()).await.unwrap());
        let fourth = world.claim().await;
        assert_eq!(fourth.attempt, 3, "a snooze burns no attempt on {}", world.version);
        world.run("begin").await;
        assert_eq!(world.settle(&fourth.claim, done).await, "completed", "on {}", world.version);
        world.run("commit").await;
        let stored = world.look("1").await;
        assert_eq!((stored.state, stored.output), (JobState::Completed, Some(json!({ "ok": true }))));
        let late = Settlement { claim: fourth.claim, outcome: Outcome::Done(json!(2)), effects: Effects::default() };
        assert!(matches!(world.store.settle(&[late]).await.unwrap()[0], Verdict::LostClaim));
        world.close().await;
    }
}

/// What else the end of a job means on pg-boss's tables happens in the caller's transaction, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_job_is_copied_to_its_dead_letter_queue() {
    for world in worlds().await {
        let dead = QueueName::new("dead").unwrap();
        world.store.create_queue(&dead, &QueueSettings::default()).await.unwrap();
        let settings =
            QueueSettings { partition: true, dead_letter: Some("dead".to_owned()), ..QueueSettings::default() };
        world.store.create_queue(&q(), &settings).await.unwrap();
        world.store.enqueue(&[job("1"), job("2")]).await.unwrap();
        let (first, second) = (world.claim().await.claim, world.claim().await.claim);
        assert_eq!(world.settle(&first, Outcome::Fail(json!("broken"))).await, "failed");
        assert_eq!(world.settle(&second, Outcome::Cancel(json!("no"))).await, "cancelled");
        assert_eq!(world.store.counts(&dead).await.unwrap().waiting, 1, "on {}", world.version);
        world.close().await;
    }
}

/// Has a beat move the row of the one job under what another connection does.
async fn under<T>(world: &World, settles: impl Future<Output = T>) -> T {
    world.run("begin; update pgboss.job set heartbeat_on = now()").await;
    let waits = "select count(*) from pg_locks where not granted";
    let (done, ()) = tokio::join!(settles, async {
        while world.client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
        world.run("commit").await;
    });
    done
}

/// A beat that renews the claim while it is settled takes nothing from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_under_it_does_not_matter() {
    for world in worlds().await {
        let (other, _driver) = world::connect(&world.url).await;
        let done = Outcome::Done(json!(1));
        for removal in [Removal::Never, Removal::AtOnce] {
            world.store.enqueue(&[job("1").remove_on_complete(removal)]).await.unwrap();
            let call = world.store.settle_call(&world.claim().await.claim, &done).await.unwrap();
            assert_eq!(under(&world, run(&other, &call)).await, "completed", "on {}", world.version);
            world.store.remove(&q(), &JobId::new("1").unwrap()).await.unwrap();

            // The store's own: alone, and with effects.
            let append = Append::one(StreamName::new("done").unwrap(), NewEvent::new("done", json!(null)));
            for effects in [Effects::default(), Effects { append: vec![append], ..Effects::default() }] {
                world.store.enqueue(&[job("1").remove_on_complete(removal)]).await.unwrap();
                let claim = world.claim().await.claim;
                let batch = [Settlement { claim, outcome: done.clone(), effects }];
                let verdict = under(&world, world.store.settle(&batch)).await.unwrap().remove(0);
                assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?} on {}", world.version);
                world.store.remove(&q(), &JobId::new("1").unwrap()).await.unwrap();
            }
        }
        world.close().await;
    }
}

/// The first attempt fails after its rows and before its commit, the second commits rows and outcome.
async fn book(ctx: JobContext, store: PgBossStore, url: String) -> Result<(), JobError> {
    let (mut client, _driver) = world::connect(&url).await;
    let tx = client.transaction().await?;
    tx.execute("insert into bookings (attempt) values ($1)", &[&i64::from(ctx.attempt())]).await?;
    let call = store.settle_call(ctx.claim(), &Outcome::Done(json!({ "booked": ctx.attempt() }))).await?;
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
    for world in worlds().await {
        world.run("create table bookings (attempt bigint)").await;
        let workers = WorkerManager::new(Stores::of(Arc::new(world.store.clone())), WorkerOptions::default());
        let (own, url) = (world.store.clone(), world.url.clone());
        let handler = move |_: Value, ctx: JobContext| book(ctx, own.clone(), url.clone());
        workers.register(&q(), &JobName::new("work").unwrap(), handler).unwrap();
        workers.start().await.unwrap();
        world.store.enqueue(&[job("1").backoff(Backoff::fixed(Duration::ZERO))]).await.unwrap();
        let queue = Queue::new(Arc::new(world.store.clone()), "q").unwrap();
        let done = queue.finished(&JobId::new("1").unwrap()).await.unwrap().unwrap();
        workers.close_all().await.unwrap();
        assert_eq!((done.state, done.output), (JobState::Completed, Some(json!({ "booked": 2 }))));
        let rows = world.client.query("select attempt from bookings", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [2], "on {}", world.version);
        world.close().await;
    }
}
