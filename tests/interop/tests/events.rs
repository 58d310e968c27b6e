//! Millstream's event log beside Node's jobs: what a group's handler wants done, Node does, once for each event.

use std::collections::BTreeSet;

use millstream_core::{
    Append, ConsumerName, CursorMove, Effects, EventOf, EventStore as _, GroupContext, GroupName, GroupOptions,
    GroupSpec, Groups, JobError, Member, NewEvent, NewJob, Pattern, QueueName, StateOp, StateStore as _, StreamName,
};
use serde_json::{Value, json};
use world::World;

mod world;

fn job(queue: &str, data: Value) -> NewJob {
    let queue = QueueName::new(queue).unwrap();
    NewJob::new(queue.clone(), (&queue).into(), data)
}

fn event(stream: &str, n: u64) -> Append {
    Append::one(StreamName::new(stream).unwrap(), NewEvent::new("paid", json!({ "n": n })))
}

fn spec(partitions: u16) -> GroupSpec {
    let all = GroupSpec::new(GroupName::new("receipts").unwrap(), Pattern::new("order:*").unwrap());
    GroupSpec { partitions, ..all }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_sends_to_node_or_does_nothing() {
    for mut world in World::all().await {
        world.queue("own", json!({ "partition": true })).await;
        world.store.append(&[event("order:1", 1), event("order:1", 2)]).await.unwrap();
        let groups = world.store.groups().unwrap();
        let spec = spec(1);
        groups.ensure_group(&spec).await.unwrap();
        let member =
            Member { group: spec.name.clone(), consumer: ConsumerName::new("mailer").unwrap(), id: "one".into() };
        groups.beat_member(&member, &[]).await.unwrap();
        let held = groups.claim_partitions(&member, 1).await.unwrap()[0].held;

        // A queue with a table of its own, and one that begins with this job.
        let effects = Effects {
            append: vec![event("sent", 1)],
            enqueue: vec![job("own", json!({ "n": 1 })), job("new", json!({ "n": 1 }))],
            state: vec![StateOp::Set { key: "seen".into(), value: json!(1), ttl: None }],
            ..Effects::default()
        };
        let step = CursorMove { held, from: 0, to: 1 };
        assert!(groups.commit(&spec.name, &step, &effects).await.unwrap());
        assert_eq!(world.store.get("seen").await.unwrap(), Some(json!(1)));
        for queue in ["own", "new"] {
            let fetched = world.node.call("fetch", json!([queue, { "batchSize": 10 }])).await;
            let data: Vec<&Value> = fetched.as_array().unwrap().iter().map(|job| &job["data"]).collect();
            assert_eq!(data, [&json!({ "n": 1 })], "{queue} on {}", world.version);
        }

        // The same step again is fenced; the next one's event is refused. Of neither is there anything.
        assert!(!groups.commit(&spec.name, &step, &effects).await.unwrap());
        let refused = Effects { append: vec![event("sent", 2).expecting(9)], ..effects };
        let next = CursorMove { held, from: 1, to: 2 };
        let error = groups.commit(&spec.name, &next, &refused).await.unwrap_err();
        assert!(error.to_string().contains("sent"), "{error}");
        for queue in ["own", "new"] {
            assert_eq!(world.node.call("fetch", json!([queue])).await, json!([]), "{queue} on {}", world.version);
        }
        assert_eq!(groups.group(&spec.name).await.unwrap().unwrap().partitions[0].position, 1);
        world.close().await;
    }
}

async fn receipt(event: EventOf<Value>, _ctx: GroupContext) -> Result<Effects, JobError> {
    Ok(Effects { enqueue: vec![job("mail", event.body.clone())], ..Effects::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_works_a_job_for_each_event() {
    const EVENTS: u64 = 60;
    for mut world in World::all().await {
        world.queue("mail", json!({})).await;
        let groups = Groups::new(world.stores(), GroupOptions::default()).unwrap();
        let mut consumers = Vec::new();
        for name in ["one", "two"] {
            consumers.push(groups.consume_each(spec(8), ConsumerName::new(name).unwrap(), receipt).await.unwrap());
        }
        let events: Vec<Append> = (0..EVENTS).map(|n| event(&format!("order:{}", n % 7), n)).collect();
        for some in events.chunks(9) {
            world.store.append(some).await.unwrap();
        }
        let mut seen = BTreeSet::new();
        world::until("Node has a job for each event", async || {
            let fetched = world.node.call("fetch", json!(["mail", { "batchSize": 100 }])).await;
            for job in fetched.as_array().unwrap() {
                let n = job["data"]["n"].as_u64().unwrap();
                assert!(seen.insert(n), "event {n} gave two jobs on {}", world.version);
                world.node.call("complete", json!(["mail", job["id"]])).await;
            }
            seen.len() as u64 == EVENTS
        })
        .await;
        for consumer in consumers {
            consumer.unsubscribe().await.unwrap();
        }
        assert_eq!(world.asked("select count(*) from pgboss.job where name = 'mail'").await, Some(EVENTS.to_string()));
        world.close().await;
    }
}
