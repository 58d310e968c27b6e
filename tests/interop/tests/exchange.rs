//! A job of one side is the other side's job: data, names, options, attempts, outcomes.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    Backoff, Handler, JobContext, JobError, JobId, JobName, JobState, JobsQuery, NewJob, Outcome, Queue,
    QueueProvider as _, WorkerManager, WorkerOptions,
};
use serde_json::{Value, json};
use world::World;

mod world;

/// What data there is: objects, and what is none.
fn data() -> Vec<Value> {
    vec![
        json!({ "n": 1, "deep": { "a": [1, null] } }),
        json!({}),
        json!([1, { "two": 2 }]),
        json!("text"),
        json!(12.5),
        json!(true),
        Value::Null,
    ]
}

fn name(text: &str) -> JobName {
    JobName::new(text).unwrap()
}

/// Answers with what it was given.
struct Echo;

#[async_trait::async_trait]
impl Handler for Echo {
    async fn run(&self, input: Value, ctx: JobContext) -> Result<Value, JobError> {
        Ok(json!({ "name": ctx.name().as_str(), "attempt": ctx.attempt(), "input": input }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_sends_and_millstream_works() {
    for mut world in World::all().await {
        let workers = WorkerManager::new(world.stores(), WorkerOptions::default());
        let mut sent = Vec::new();
        for (policy, partition) in world::policies().flat_map(|policy| [(policy, false), (policy, true)]) {
            let queue = world
                .queue(&world::queue(policy, partition), json!({ "policy": policy, "partition": partition }))
                .await;
            workers.register_default(&queue, Arc::new(Echo)).unwrap();
            for (n, data) in data().into_iter().enumerate() {
                let key = json!({ "singletonKey": format!("k{n}") });
                sent.push((queue.clone(), world.node_sends(&queue, data.clone(), key).await, data));
            }
        }
        workers.start().await.unwrap();
        for (queue, id, data) in sent {
            let jobs = Queue::new(world.stores().queue, queue.as_str()).unwrap();
            let job = jobs.finished(&id).await.unwrap().expect("it is kept");
            // A job of a plain application has no name: it goes by its queue's. Its data is not touched.
            let output = json!({ "name": queue.as_str(), "attempt": 1, "input": data });
            assert_eq!((job.state, job.output), (JobState::Completed, Some(output.clone())), "{queue}");
            let theirs = world.theirs(&queue, &id).await;
            assert_eq!((&theirs["state"], &theirs["output"], &theirs["data"]), (&json!("completed"), &output, &data));
            assert!(theirs["completedOn"].is_string() && theirs["retryCount"] == 0, "{theirs}");
        }
        workers.close_all().await.unwrap();
        assert_eq!(world.node.told(), Vec::<Value>::new());
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millstream_sends_and_node_works() {
    for mut world in World::all().await {
        for (policy, partition) in [("standard", false), ("standard", true), ("stately", false)] {
            let queue = world
                .queue(&world::queue(policy, partition), json!({ "policy": policy, "partition": partition }))
                .await;
            world.node.call("work", json!([queue.as_str()])).await;
            for data in data() {
                let job = NewJob::new(queue.clone(), (&queue).into(), data.clone());
                let id = world.store.enqueue(&[job]).await.unwrap()[0].id().clone();
                let taken = world.node.job().await;
                assert_eq!((&taken["id"], &taken["data"]), (&json!(id.as_str()), &data), "{queue}");
                world.node.settle(&taken, json!({ "return": { "got": data } })).await;
                let jobs = Queue::new(world.stores().queue, queue.as_str()).unwrap();
                let job = jobs.finished(&id).await.unwrap().expect("it is kept");
                assert_eq!((job.state, job.output), (JobState::Completed, Some(json!({ "got": data }))));
                assert_eq!((job.attempt, job.data), (1, data));
            }
        }
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_travel_in_the_data() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let named = json!({ "to": "ada", "__jobName": "welcome" });

        let job = NewJob::new(queue.clone(), name("welcome"), json!({ "to": "ada" }));
        world.store.enqueue(&[job]).await.unwrap();
        let seen = world.node.call("fetch", json!(["mail"])).await;
        assert_eq!(seen[0]["data"], named);

        world.node_sends(&queue, named, json!({})).await;
        let claimed = world.claim(&queue).await;
        assert_eq!((claimed.name.as_str(), &claimed.data), ("welcome", &json!({ "to": "ada" })));

        // Data that is no object cannot carry a name: Node sees the data as it is.
        let job = NewJob::new(queue.clone(), name("sum"), json!([1, 2]));
        let id = world.store.enqueue(&[job]).await.unwrap()[0].id().clone();
        assert_eq!(world.theirs(&queue, &id).await["data"], json!([1, 2]));
        let claimed = world.claim(&queue).await;
        assert_eq!((claimed.name.as_str(), &claimed.data), ("sum", &json!([1, 2])));
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_options_are_in_their_columns() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let backoff =
            Backoff::Exponential { first: Duration::from_millis(1_200), cap: Duration::from_secs(60), jitter: 0.5 };
        let job = NewJob::new(queue.clone(), (&queue).into(), json!({}))
            .attempts(5)
            .backoff(backoff.clone())
            .priority(7)
            .timeout(Duration::from_millis(2_500))
            .delay(Duration::from_secs(3_600))
            .id(JobId::new("invoice 7").unwrap());
        let id = world.store.enqueue(&[job]).await.unwrap()[0].id().clone();
        assert_eq!(id.as_str(), "invoice 7");
        let found = world.node.call("findJobs", json!(["mail", {}])).await;
        let row = &found[0];
        // A UUID of version 5, made of queue and id.
        assert_eq!(row["id"].as_str().and_then(|id| id.chars().nth(14)), Some('5'), "{row}");
        for (column, value) in [
            ("retryLimit", json!(4)),
            ("retryDelay", json!(2)),
            ("retryBackoff", json!(true)),
            ("retryDelayMax", json!(60)),
            ("priority", json!(-7)),
            ("expireInSeconds", json!(3)),
            ("state", json!("created")),
            ("policy", json!("standard")),
        ] {
            assert_eq!(row[column], value, "{column}");
        }
        assert!(row["startAfter"].as_str() > row["createdOn"].as_str(), "{row}");
        // And ours come back as they went, to the millisecond.
        let ours = world.ours(&queue, &id).await;
        assert_eq!((ours.settings.attempts, ours.settings.priority, ours.settings.backoff), (5, 7, backoff));
        assert_eq!((ours.settings.timeout, ours.state), (Some(Duration::from_millis(2_500)), JobState::Delayed));
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_options_are_ours() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let options = json!({
            "retryLimit": 6, "retryDelay": 4, "retryBackoff": true, "retryDelayMax": 90, "priority": 3,
            "expireInSeconds": 40, "startAfter": 600,
        });
        let id = world.node_sends(&queue, json!({ "n": 1 }), options).await;
        let ours = world.ours(&queue, &id).await;
        assert_eq!((ours.settings.attempts, ours.settings.priority), (7, -3));
        assert_eq!((ours.settings.timeout, ours.state), (Some(Duration::from_secs(40)), JobState::Delayed));
        let Backoff::Exponential { first, cap, .. } = ours.settings.backoff else { panic!("{:?}", ours.settings) };
        assert_eq!((first, cap), (Duration::from_secs(4), Duration::from_secs(90)));
        assert!(world.try_claim(&queue).await.is_none());
        assert!(world.store.promote(&queue, &id).await.unwrap());
        assert_eq!(world.claim(&queue).await.attempts, 7);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_order_for_both() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        // Small runs first with us, large first with them.
        for n in 0..6 {
            let priority = [0, 5, -5][n % 3];
            if n < 3 {
                world.node_sends(&queue, json!({ "n": n }), json!({ "priority": -priority })).await;
            } else {
                let job = NewJob::new(queue.clone(), (&queue).into(), json!({ "n": n })).priority(priority);
                world.store.enqueue(&[job]).await.unwrap();
            }
        }
        let mut order = Vec::new();
        for turn in 0..6 {
            let data = if turn % 2 == 0 {
                world.node.call("fetch", json!(["mail"])).await[0]["data"].clone()
            } else {
                world.claim(&queue).await.data
            };
            order.push(data["n"].as_u64().unwrap());
        }
        assert_eq!(order, [2, 5, 0, 3, 1, 4]);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_counted_across_both() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 3, "retryDelay": 0 })).await;
        let id = world.node_sends(&queue, json!({}), json!({})).await;

        let first = world.claim(&queue).await;
        assert_eq!((first.attempt, first.attempts), (1, 4));
        let error = json!({ "message": "ours" });
        let retry = Outcome::Retry { error, after: Some(Duration::ZERO) };
        assert_eq!(world.settle(&first, retry.clone()).await, JobState::Waiting);

        world.node.call("work", json!(["mail"])).await;
        let second = world.node.job().await;
        assert_eq!((&second["id"], &second["retryCount"]), (&json!(id.as_str()), &json!(1)));
        world.node.call("offWork", json!(["mail", { "wait": false }])).await;
        world.node.settle(&second, json!({ "throw": "theirs" })).await;
        world::until("Node settles", async || world.ours(&queue, &id).await.state == JobState::Waiting).await;
        let ours = world.ours(&queue, &id).await;
        assert_eq!(ours.error.as_ref().map(|error| &error["message"]), Some(&json!("theirs")), "{ours:?}");

        let third = world.claim(&queue).await;
        assert_eq!(third.attempt, 3);
        assert_eq!(world.settle(&third, retry.clone()).await, JobState::Waiting);
        let fourth = world.claim(&queue).await;
        assert_eq!((fourth.attempt, fourth.attempts), (4, 4));
        assert_eq!(world.settle(&fourth, retry).await, JobState::Failed);
        let theirs = world.theirs(&queue, &id).await;
        assert_eq!((&theirs["state"], &theirs["retryCount"]), (&json!("failed"), &json!(3)));
        assert_eq!(theirs["output"], json!({ "message": "ours" }));

        // Node runs it again, and so do we.
        world.node.call("retry", json!(["mail", id.as_str()])).await;
        let fifth = world.claim(&queue).await;
        assert_eq!((fifth.claim.job.as_str(), fifth.attempt), (id.as_str(), 5));
        assert_eq!(world.settle(&fifth, Outcome::Fail(json!("enough"))).await, JobState::Failed);
        assert_eq!(world.theirs(&queue, &id).await["output"], json!({ "value": "enough" }));
        assert!(world.store.retry(&queue, &id).await.unwrap());
        let again = world.node.call("fetch", json!(["mail"])).await;
        assert_eq!(again[0]["id"], json!(id.as_str()));
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_steers_the_others_jobs() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let theirs = world.node_sends(&queue, json!({ "by": "node" }), json!({})).await;
        let job = NewJob::new(queue.clone(), (&queue).into(), json!({ "by": "us" }));
        let ours = world.store.enqueue(&[job]).await.unwrap()[0].id().clone();

        assert!(world.store.cancel(&queue, &theirs).await.unwrap());
        assert_eq!(world.theirs(&queue, &theirs).await["state"], "cancelled");
        world.node.call("cancel", json!(["mail", ours.as_str()])).await;
        assert_eq!(world.ours(&queue, &ours).await.state, JobState::Cancelled);
        world.node.call("resume", json!(["mail", ours.as_str()])).await;
        assert_eq!(world.ours(&queue, &ours).await.state, JobState::Waiting);

        let counts = world.store.counts(&queue).await.unwrap();
        assert_eq!((counts.waiting, counts.cancelled, counts.total()), (1, 1, 2));
        let listed = world.store.jobs(&JobsQuery::of(queue.clone())).await.unwrap();
        assert_eq!(listed.items.len(), 2);

        assert!(world.store.remove(&queue, &theirs).await.unwrap());
        world.node.call("deleteJob", json!(["mail", ours.as_str()])).await;
        assert_eq!(world.store.counts(&queue).await.unwrap().total(), 0);
        assert!(world.store.job(&queue, &ours).await.unwrap().is_none());
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_claimed_the_other_cannot_settle() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 5 })).await;
        let id = world.node_sends(&queue, json!({}), json!({})).await;
        let claimed = world.claim(&queue).await;
        // As Node's workers settle: fenced to the attempt that they fetched.
        let stale = json!(["mail", [{ "id": id.as_str(), "retryCount": 1 }]]);
        assert_eq!(world.node.call("complete", stale).await["affected"], 0);
        // An operator of Node's, without a fence.
        world.node.call("fail", json!(["mail", id.as_str()])).await;
        let fetched = world.node.call("fetch", json!(["mail"])).await;
        assert_eq!((&fetched[0]["id"], &fetched[0]["retryCount"]), (&json!(id.as_str()), &json!(1)));
        let late = world.try_settle(&claimed, Outcome::Done(json!("late"))).await;
        assert!(matches!(late, millstream_core::Verdict::LostClaim), "{late:?}");
        let own = json!(["mail", [{ "id": id.as_str(), "retryCount": 1 }], { "by": "node" }]);
        assert_eq!(world.node.call("complete", own).await["affected"], 1);
        assert_eq!(world.ours(&queue, &id).await.output, Some(json!({ "by": "node" })));
        world.close().await;
    }
}
