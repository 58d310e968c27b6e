//! Schedules with both schedulers on: one job a slot.

use millstream_core::{JobStore as _, QueueName, QueueProvider as _, Schedule, Store as _, StoreOptions};
use millstream_interop::{Node, Release};
use millstream_postgres::pgboss::{PgBossOptions, PgBossStore};
use serde_json::{Value, json};
use world::World;

mod world;

/// Every pass over the schedules may run at once.
async fn passes_are_due(world: &World) {
    world.client.execute("update pgboss.version set cron_on = null", &[]).await.unwrap();
}

/// Node's pass, which it runs by its own timer: from its claim to the next one's, so that it is over.
async fn node_passes(world: &World) {
    for _ in 0..2 {
        passes_are_due(world).await;
        world::until("Node's pass over the schedules", async || {
            world.asked("select cron_on is not null from pgboss.version").await.as_deref() == Some("true")
        })
        .await;
    }
}

/// Millstream's pass.
async fn we_pass(world: &World, scheduler: &PgBossStore) {
    passes_are_due(world).await;
    scheduler.fire_schedules().await.unwrap();
}

/// A store that takes turns at schedules.
async fn scheduler(world: &World) -> PgBossStore {
    let options = PgBossOptions { supervise: false, ..PgBossOptions::new(world.url()) };
    PgBossStore::connect(options, StoreOptions::default()).await.unwrap()
}

/// Node's pg-boss with its timers on, as fast as they go.
fn timers(world: &World) -> Value {
    json!({
        "connectionString": world.url(), "supervise": false, "schedule": true,
        "cronMonitorIntervalSeconds": 1, "cronWorkerIntervalSeconds": 1,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_a_slot_with_both_schedulers() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let mut timekeeper = Node::start(Release::Current, timers(&world)).await;
        let scheduler = scheduler(&world).await;
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
            we_pass(&world, &scheduler).await;
        }
        world::until("both schedules have a job", async || {
            scheduler.fire_schedules().await.unwrap();
            world.asked("select count(distinct data->>'by') from pgboss.job where name = 'mail'").await.as_deref()
                == Some("2")
        })
        .await;
        world::until("every slot is sent on", async || {
            scheduler.fire_schedules().await.unwrap();
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
        assert_eq!(timekeeper.told(), Vec::<Value>::new());

        timekeeper.call("unschedule", json!(["mail", "ours"])).await;
        assert!(world.store.unschedule(&queue, "a_b").await.unwrap());
        assert_eq!(world.store.schedules(None).await.unwrap(), []);
        timekeeper.stop().await;
        scheduler.close().await.unwrap();
        world.close().await;
    }
}

/// The database's clock goes on from such a time, for both sides. Node learns of it when it starts.
async fn clock_shows(world: &World, time: &str) {
    let function = format!(
        "do $do$ begin execute format($text$create or replace function pgboss.job_now() returns timestamptz language sql \
         stable as $body$ select pg_catalog.now() + interval %L $body$ $text$, timestamptz '{time}' - pg_catalog.now()); \
         end $do$"
    );
    world.client.batch_execute(&function).await.unwrap();
}

/// The passes of both sides at such a time, Node's first or ours; and then until every tick is sent on.
async fn both_pass(world: &World, scheduler: &PgBossStore, time: &str, node_first: bool) {
    clock_shows(world, time).await;
    let timekeeper = Node::start(Release::Current, timers(world)).await;
    if node_first {
        node_passes(world).await;
    }
    we_pass(world, scheduler).await;
    node_passes(world).await;
    we_pass(world, scheduler).await;
    sent_on(world, scheduler).await;
    timekeeper.stop().await;
}

async fn sent_on(world: &World, scheduler: &PgBossStore) {
    let waits = "select count(*) from pgboss.job where name = '__pgboss__send-it' and state < 'completed'";
    world::until("every tick is sent on", async || {
        scheduler.fire_schedules().await.unwrap();
        world.asked(waits).await.as_deref() == Some("0")
    })
    .await;
}

/// A schedule of each side's, in New York.
async fn schedules(world: &mut World, cron: &str) -> QueueName {
    let zone = "America/New_York";
    let queue = world.queue("mail", json!({})).await;
    world.node.call("schedule", json!(["mail", cron, { "by": "node" }, { "key": "theirs", "tz": zone }])).await;
    let name = (&queue).into();
    let data = json!({ "by": "us" });
    let ours = Schedule { data, time_zone: zone.into(), ..Schedule::new(queue.clone(), "ours", cron, name) };
    world.store.schedule_upsert(&ours).await.unwrap();
    queue
}

/// The slots that were taken of one schedule, and how many jobs came of it.
async fn taken(world: &World, key: &str, by: &str) -> (String, String) {
    let slots = "select coalesce(string_agg(data->>'slot', ', ' order by data->>'slot'), '') from pgboss.job \
                 where name = '__pgboss__send-it'";
    let jobs = "select count(*) from pgboss.job where name = 'mail'";
    let slots = world.asked(&format!("{slots} and data->>'key' = '{key}'")).await;
    (slots.unwrap(), world.asked(&format!("{jobs} and data->>'by' = '{by}'")).await.unwrap())
}

fn told(slots: &str, jobs: u32) -> (String, String) {
    (slots.to_owned(), jobs.to_string())
}

/// 2:30 is skipped on this night: Node's pass finds no occurrence, ours fires at the first moment after the gap. With
/// both on there is one job, whoever looks first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_hour_has_its_tick_with_both_schedulers() {
    for mut world in World::all().await {
        let scheduler = scheduler(&world).await;
        clock_shows(&world, "2027-03-13T20:00:00Z").await;
        schedules(&mut world, "30 2 * * *").await;
        // Just before the gap, and where its half past two would have been.
        for time in ["2027-03-14T06:59:30Z", "2027-03-14T07:00:20Z", "2027-03-14T07:30:20Z"] {
            both_pass(&world, &scheduler, time, true).await;
        }
        for (key, by) in [("theirs", "node"), ("ours", "us")] {
            let night = told("2027-03-14 07:00:00", 1);
            assert_eq!(taken(&world, key, by).await, night, "{key} on {}", world.version);
        }
        // The next night has its own again.
        both_pass(&world, &scheduler, "2027-03-15T06:30:20Z", false).await;
        for (key, by) in [("theirs", "node"), ("ours", "us")] {
            let both = told("2027-03-14 07:00:00, 2027-03-15 06:30:00", 2);
            assert_eq!(taken(&world, key, by).await, both, "{key} on {}", world.version);
        }
        scheduler.close().await.unwrap();
        world.close().await;
    }
}

/// 1:30 comes twice on this night: ours fires once. Node's pass fires again, in a slot of its own, where it is on; each
/// slot has one job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_hour_has_one_job_a_slot() {
    for mut world in World::all().await {
        let scheduler = scheduler(&world).await;
        clock_shows(&world, "2027-11-06T20:00:00Z").await;
        schedules(&mut world, "30 1 * * *").await;
        both_pass(&world, &scheduler, "2027-11-07T05:30:20Z", true).await;
        clock_shows(&world, "2027-11-07T06:30:20Z").await;
        we_pass(&world, &scheduler).await;
        sent_on(&world, &scheduler).await;
        for (key, by) in [("theirs", "node"), ("ours", "us")] {
            let night = told("2027-11-07 05:30:00", 1);
            assert_eq!(taken(&world, key, by).await, night, "{key} on {}", world.version);
        }
        both_pass(&world, &scheduler, "2027-11-07T06:30:20Z", false).await;
        both_pass(&world, &scheduler, "2027-11-08T06:30:20Z", false).await;
        for (key, by) in [("theirs", "node"), ("ours", "us")] {
            let all = told("2027-11-07 05:30:00, 2027-11-07 06:30:00, 2027-11-08 06:30:00", 3);
            assert_eq!(taken(&world, key, by).await, all, "{key} on {}", world.version);
        }
        scheduler.close().await.unwrap();
        world.close().await;
    }
}
