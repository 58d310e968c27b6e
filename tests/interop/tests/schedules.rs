//! Schedules with both schedulers on: one job a slot.

use millstream_core::{JobStore as _, QueueProvider as _, Schedule};
use serde_json::json;
use world::World;

mod world;

/// Every pass over the schedules may run at once.
async fn passes_are_due(world: &World) {
    world.client.execute("update pgboss.version set cron_on = null", &[]).await.unwrap();
}

/// Node's pass, which it runs by its own timer.
async fn node_passes(world: &World) {
    passes_are_due(world).await;
    world::until("Node's pass over the schedules", async || {
        world.asked("select cron_on is not null from pgboss.version").await.as_deref() == Some("true")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_a_slot_with_both_schedulers() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let timers = json!({
            "connectionString": world.url(), "supervise": false, "schedule": true,
            "cronMonitorIntervalSeconds": 1, "cronWorkerIntervalSeconds": 1,
        });
        let mut timekeeper = millstream_interop::Node::start(millstream_interop::Release::Current, timers).await;
        timekeeper
            .call("schedule", json!(["mail", "* * * * *", { "by": "node" }, { "key": "a_b", "priority": 2 }]))
            .await;
        let schedule = Schedule {
            data: json!({ "by": "us" }),
            ..Schedule::new(queue.clone(), "ours", "* * * * *", "tick".try_into().unwrap())
        };
        world.store.schedule_upsert(&schedule).await.unwrap();
        // Each side sees the other's.
        let seen = world.store.schedules(Some(&queue)).await.unwrap();
        let mut keys: Vec<&str> = seen.iter().map(|info| &*info.schedule.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a_b", "ours"]);
        let theirs = timekeeper.call("getSchedules", json!(["mail"])).await;
        assert_eq!(theirs.as_array().map(Vec::len), Some(2), "{theirs}");

        for _ in 0..4 {
            node_passes(&world).await;
            passes_are_due(&world).await;
            world.store.fire_schedules().await.unwrap();
        }
        world::until("both schedules have a job", async || {
            world.store.fire_schedules().await.unwrap();
            world.asked("select count(distinct data->>'by') from pgboss.job where name = 'mail'").await.as_deref()
                == Some("2")
        })
        .await;
        world::until("every slot is sent on", async || {
            world.store.fire_schedules().await.unwrap();
            world
                .asked("select count(*) from pgboss.job where name = '__pgboss__send-it' and state < 'completed'")
                .await
                .as_deref()
                == Some("0")
        })
        .await;
        let twice = "select count(*) from (select data->>'key', data->>'slot' from pgboss.job \
                     where name = '__pgboss__send-it' group by 1, 2 having count(*) > 1) as double(key, slot)";
        assert_eq!(world.asked(twice).await.as_deref(), Some("0"), "a slot was taken twice");
        let slots = world.asked("select count(*) from pgboss.job where name = '__pgboss__send-it'").await;
        let jobs = world.asked("select count(*) from pgboss.job where name = 'mail'").await;
        assert_eq!(slots, jobs, "a job for each slot");

        // Data and options arrive as they were given, without the slot.
        let found = world.node.call("findJobs", json!(["mail", {}])).await;
        let of = |by: &str| found.as_array().unwrap().iter().find(|job| job["data"]["by"] == by).unwrap().clone();
        assert_eq!((&of("node")["data"], &of("node")["priority"]), (&json!({ "by": "node" }), &json!(2)));
        assert_eq!(of("us")["data"]["__jobName"], "tick");
        assert_eq!(timekeeper.told(), Vec::<serde_json::Value>::new());

        timekeeper.call("unschedule", json!(["mail", "ours"])).await;
        assert!(world.store.unschedule(&queue, "a_b").await.unwrap());
        assert_eq!(world.store.schedules(None).await.unwrap(), []);
        timekeeper.stop().await;
        world.close().await;
    }
}
