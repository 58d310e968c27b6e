//! How long a job is kept: what one side says, the other sees and does.

use std::time::Duration;

use millstream_core::{JobId, JobState, NewJob, Outcome, QueueName, QueueProvider as _, Removal, Store as _};
use millstream_postgres::pgboss::SendOptions;
use serde_json::{Value, json};
use world::World;

mod world;

fn job(queue: &QueueName, n: u32) -> NewJob {
    NewJob::new(queue.clone(), queue.into(), json!({ "n": n }))
}

fn keep(count: Option<u32>, secs: Option<u64>) -> Removal {
    Removal::Keep { count, age: secs.map(Duration::from_secs) }
}

/// What Node finds in the queue: each job's `n` and state, by `n`.
async fn seen(world: &mut World, queue: &QueueName) -> Vec<(u64, String)> {
    let found = world.node.call("findJobs", json!([queue.as_str(), {}])).await;
    let one = |job: &Value| (job["data"]["n"].as_u64().unwrap(), job["state"].as_str().unwrap().to_owned());
    let mut jobs: Vec<_> = found.as_array().unwrap().iter().map(one).collect();
    jobs.sort();
    jobs
}

fn states(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(n, state)| (*n, (*state).to_owned())).collect()
}

async fn finish(world: &World, queue: &QueueName, outcome: Outcome) -> JobState {
    let claimed = world.claim(queue).await;
    world.settle(&claimed, outcome).await
}

async fn node_finishes(world: &mut World, queue: &QueueName) {
    let fetched = world.node.call("fetch", json!([queue.as_str()])).await;
    world.node.call("complete", json!([queue.as_str(), fetched[0]["id"]])).await;
}

/// Node's maintenance, now.
async fn node_maintains(world: &mut World, queue: &QueueName) {
    // The turn is once a day.
    world.client.execute("update pgboss.queue set maintain_on = null, monitor_claim_on = null", &[]).await.unwrap();
    world.node.call("supervise", json!([queue.as_str()])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_at_once_is_gone_for_node() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let done = |n| job(&queue, n).remove_on_complete(Removal::AtOnce);
        let failed = |n| job(&queue, n).remove_on_fail(Removal::AtOnce);
        for n in [done(1), done(2), failed(3), failed(4)] {
            world.enqueue(n).await;
        }
        let no = || Outcome::Fail(json!({ "message": "no" }));
        finish(&world, &queue, Outcome::Done(json!(1))).await;
        finish(&world, &queue, no()).await;
        finish(&world, &queue, Outcome::Done(json!(1))).await;
        finish(&world, &queue, no()).await;
        assert_eq!(seen(&mut world, &queue).await, states(&[(2, "failed"), (3, "completed")]));

        // Node does not know the rule: what it finishes itself is kept as the queue says, a week here.
        let id = world.enqueue(done(5)).await;
        node_finishes(&mut world, &queue).await;
        world.store.sweep().await.unwrap();
        let theirs = world.theirs(&queue, &id).await;
        assert_eq!((&theirs["state"], &theirs["deleteAfterSeconds"]), (&json!("completed"), &json!(604_800)));
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_ages_hold_for_node() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        for n in 1..=4 {
            world.enqueue(job(&queue, n).remove_on_complete(keep(Some(2), None))).await;
            finish(&world, &queue, Outcome::Done(Value::Null)).await;
        }
        world.store.sweep().await.unwrap();
        assert_eq!(seen(&mut world, &queue).await, states(&[(3, "completed"), (4, "completed")]));

        // One time for both ends there: the longer one. Each end's own is kept by our sweep.
        let both = |n| job(&queue, n).remove_on_complete(keep(None, Some(60))).remove_on_fail(keep(None, Some(600)));
        let id = world.enqueue(both(5)).await;
        assert_eq!(world.theirs(&queue, &id).await["deleteAfterSeconds"], json!(600));
        finish(&world, &queue, Outcome::Done(Value::Null)).await;
        world.enqueue(both(6)).await;
        finish(&world, &queue, Outcome::Fail(json!("no"))).await;
        world.enqueue(both(7)).await;
        node_finishes(&mut world, &queue).await;
        world.later(61).await;
        world.store.sweep().await.unwrap();
        node_maintains(&mut world, &queue).await;
        let left = [(3, "completed"), (4, "completed"), (6, "failed"), (7, "completed")];
        assert_eq!(seen(&mut world, &queue).await, states(&left));
        world.later(601).await;
        node_maintains(&mut world, &queue).await;
        assert_eq!(seen(&mut world, &queue).await, states(&left[..2]));
        world.close().await;
    }
}

/// Three jobs of a queue: one to finish, one that nobody starts, and one that is kept longer. By our words or Node's.
async fn three(world: &mut World, queue: &QueueName, ours: bool) -> [JobId; 3] {
    let mut sent = Vec::new();
    for (n, secs) in [(1, 60), (2, 60), (3, 600)] {
        let id = match ours {
            true => {
                let time = Some(Duration::from_secs(secs));
                let options = SendOptions { retention: time, delete_after: time, ..SendOptions::default() };
                world.store.send(queue, &json!({ "n": n }), &options).await.unwrap().unwrap()
            }
            false => {
                let options = json!({ "retentionSeconds": secs, "deleteAfterSeconds": secs });
                world.node_sends(queue, json!({ "n": n }), options).await
            }
        };
        sent.push(id);
    }
    sent.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_removes_what_the_other_made() {
    for mut world in World::all().await {
        for (ours, partition) in [(true, false), (false, false), (true, true), (false, true)] {
            let name = format!("{}{}", if ours { "ours" } else { "theirs" }, if partition { ".own" } else { "" });
            let queue = world.queue(&name, json!({ "partition": partition })).await;
            world.later(0).await;
            let [done, _, kept] = three(&mut world, &queue, ours).await;
            // Who sent them finishes one.
            match ours {
                true => drop(finish(&world, &queue, Outcome::Done(json!(1))).await),
                false => node_finishes(&mut world, &queue).await,
            }
            assert_eq!(world.ours(&queue, &done).await.state, JobState::Completed);
            let all = states(&[(1, "completed"), (2, "created"), (3, "created")]);
            for (after, left) in [(30, &all[..]), (62, &all[2..]), (602, &[])] {
                world.later(after).await;
                // The other side looks after the tables.
                match ours {
                    true => node_maintains(&mut world, &queue).await,
                    false => drop(world.store.supervise(Some(&queue)).await.unwrap()),
                }
                assert_eq!(seen(&mut world, &queue).await, left, "`{queue}` after {after} s on {}", world.version);
            }
            assert_eq!(world.store.job(&queue, &kept).await.unwrap(), None);
        }
        world.close().await;
    }
}
