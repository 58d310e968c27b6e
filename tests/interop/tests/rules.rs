//! pg-boss's rules bind whoever sends: policies, throttles, flows, subscriptions; and what one side counts, the other reads.

use millstream_core::{JobState, Outcome, QueueProvider as _, Store as _, StoreOptions};
use millstream_postgres::pgboss::{PgBossOptions, PgBossStore, SendOptions};
use serde_json::{Value, json};
use world::World;

mod world;

fn keyed(key: &str) -> SendOptions {
    SendOptions { singleton_key: Some(key.to_owned()), ..SendOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_refuses_either_side_what_the_other_sent() {
    for mut world in World::all().await {
        for (policy, partition) in world::policies().flat_map(|policy| [(policy, false), (policy, true)]) {
            let options = json!({ "policy": policy, "partition": partition });
            let queue = world.queue(&world::queue(policy, partition), options).await;
            let refuses = matches!(policy, "short" | "stately" | "exclusive");
            for (first, second) in [("ours", "theirs"), ("theirs", "ours")] {
                let mut sent = Vec::new();
                for side in [first, second] {
                    let taken = match side {
                        "ours" => world.store.send(&queue, &json!({}), &keyed(first)).await.unwrap().is_some(),
                        _ => {
                            let args = json!([queue.as_str(), {}, { "singletonKey": first }]);
                            world.node.call("send", args).await.is_string()
                        }
                    };
                    sent.push(taken);
                }
                assert_eq!(sent, [true, !refuses], "{queue}: {first} first");
            }
            // The oldest runs: its key is free again, but not where one that runs counts, too.
            let running = world.claim(&queue).await;
            let again = world.store.send(&queue, &json!({}), &keyed("ours")).await.unwrap();
            assert_eq!(again.is_some(), policy != "exclusive", "{queue}");
            assert_eq!(world.settle(&running, Outcome::Done(Value::Null)).await, JobState::Completed);
        }
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_holds_for_both() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        // A slot longer than the test, so that it ends in none.
        let options = json!({ "singletonKey": "k", "singletonSeconds": 1_000_000_000 });
        let ours = SendOptions { singleton_seconds: Some(1_000_000_000), ..keyed("k") };
        world.node_sends(&queue, json!({}), options.clone()).await;
        assert_eq!(world.store.send(&queue, &json!({}), &ours).await.unwrap(), None);
        let other = SendOptions { singleton_key: Some("l".to_owned()), ..ours };
        assert!(world.store.send(&queue, &json!({}), &other).await.unwrap().is_some());
        let refused = json!(["mail", {}, { "singletonKey": "l", "singletonSeconds": 1_000_000_000 }]);
        assert_eq!(world.node.call("send", refused).await, Value::Null);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_of_nodes_is_worked_by_both() {
    for mut world in World::all().await {
        let queue = world.queue("step", json!({})).await;
        let flow = json!([[
            { "ref": "a", "name": "step", "data": { "n": "a" } },
            { "ref": "b", "name": "step", "data": { "n": "b" }, "dependsOn": ["a"] },
            { "ref": "c", "name": "step", "data": { "n": "c" }, "dependsOn": ["b"] },
        ]]);
        world.node.call("flow", flow).await;
        let first = world.claim(&queue).await;
        assert_eq!(first.data, json!({ "n": "a" }));
        assert!(world.try_claim(&queue).await.is_none(), "the next step is blocked");
        world.settle(&first, Outcome::Done(json!(1))).await;
        world.node.call("resolveFlow", json!([])).await;

        let second = world.node.call("fetch", json!(["step"])).await;
        assert_eq!(second[0]["data"], json!({ "n": "b" }));
        world.node.call("complete", json!(["step", second[0]["id"]])).await;
        // A process of ours that looks after everybody.
        let keeper = PgBossOptions { schedule: false, ..PgBossOptions::new(world.url()) };
        let keeper = PgBossStore::connect(keeper, StoreOptions::default()).await.unwrap();
        world::until("the last step is released", async || {
            let blocked = "select count(*) from pgboss.job where blocked";
            world.asked(blocked).await.as_deref() == Some("0")
        })
        .await;
        assert_eq!(world.claim(&queue).await.data, json!({ "n": "c" }));
        keeper.close().await.unwrap();
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_publishes_the_other_gets() {
    for mut world in World::all().await {
        let (mail, audit) = (world.queue("mail", json!({})).await, world.queue("audit", json!({})).await);
        world.node.call("subscribe", json!(["paid", "mail"])).await;
        world.store.subscribe_queue("paid", &audit).await.unwrap();
        assert_eq!(world.store.publish("paid", &json!({ "by": "us" }), &SendOptions::default()).await.unwrap(), 2);
        world.node.call("publish", json!(["paid", { "by": "node" }])).await;
        for queue in [&mail, &audit] {
            assert_eq!(world.claim(queue).await.data, json!({ "by": "us" }));
            let fetched = world.node.call("fetch", json!([queue.as_str()])).await;
            assert_eq!(fetched[0]["data"], json!({ "by": "node" }));
        }
        assert!(world.store.unsubscribe_queue("paid", &mail).await.unwrap());
        world.node.call("unsubscribe", json!(["paid", "audit"])).await;
        assert_eq!(world.store.publish("paid", &json!({}), &SendOptions::default()).await.unwrap(), 0);
        world.close().await;
    }
}

/// What a queue's row says of it: Node's dashboard and its bursts read that.
async fn counts(world: &mut World) -> Value {
    let queue = world.node.call("getQueue", json!(["mail"])).await;
    let of = |name: &str| queue[name].clone();
    json!([
        of("deferredCount"),
        of("queuedCount"),
        of("readyCount"),
        of("activeCount"),
        of("failedCount"),
        of("totalCount")
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_count_the_same() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 0 })).await;
        for n in 0..7 {
            let options = if n == 6 { json!({ "startAfter": 600 }) } else { json!({}) };
            world.node_sends(&queue, json!({ "n": n }), options).await;
        }
        let done = world.claim(&queue).await;
        world.settle(&done, Outcome::Done(json!(1))).await;
        let failed = world.claim(&queue).await;
        world.settle(&failed, Outcome::Fail(json!("no"))).await;
        let _active = world.claim(&queue).await;

        world.store.supervise(None).await.unwrap();
        let ours = counts(&mut world).await;
        world.later(120).await;
        world.node.call("supervise", json!(["mail"])).await;
        let theirs = counts(&mut world).await;
        assert_eq!(ours, theirs);
        assert_eq!(ours, json!([1, 4, 3, 1, 1, 7]));
        let live = world.store.counts(&queue).await.unwrap();
        assert_eq!((live.waiting, live.delayed, live.active, live.failed, live.completed), (3, 1, 1, 1, 1));
        world.close().await;
    }
}
