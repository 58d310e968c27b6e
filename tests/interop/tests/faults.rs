//! One side dies, the other finishes its jobs; and whoever comes back too late is told.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use millstream_core::{JobState, JobStore as _, Outcome, QueueName, StoreOptions, Verdict, Want};
use millstream_interop::{Node, Release};
use millstream_postgres::pgboss::{PgBossOptions, PgBossStore};
use serde_json::{Value, json};
use world::World;

mod world;

/// Set for the process that is killed while it holds a job: where, and which queue.
const PART: &str = "MILLSTREAM_INTEROP_PART";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_rescues_what_millstream_let_expire() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 1, "expireInSeconds": 60 })).await;
        let id = world.node_sends(&queue, json!({}), json!({})).await;
        let claimed = world.claim(&queue).await;
        world.node.call("supervise", json!(["mail"])).await;
        assert_eq!(world.ours(&queue, &id).await.state, JobState::Active, "it is not over yet");

        world.later(61).await;
        world.node.call("supervise", json!(["mail"])).await;
        let theirs = world.theirs(&queue, &id).await;
        assert_eq!(
            (&theirs["state"], &theirs["output"]["value"]["message"]),
            (&json!("retry"), &json!("job timed out"))
        );
        let late = world.try_settle(&claimed, Outcome::Done(json!("late"))).await;
        assert!(matches!(late, Verdict::LostClaim), "{late:?}");
        let again = world.claim(&queue).await;
        assert_eq!(again.attempt, 2);
        assert_eq!(world.settle(&again, Outcome::Done(json!(1))).await, JobState::Completed);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_rescues_what_millstream_stopped_beating_for() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 0, "heartbeatSeconds": 10, "deadLetter": null })).await;
        let id = world.node_sends(&queue, json!({}), json!({})).await;
        let claimed = world.claim(&queue).await;
        // A beat of ours is a heartbeat of theirs.
        world.later(5).await;
        let before = world.theirs(&queue, &id).await["heartbeatOn"].clone();
        world.store.beat(std::slice::from_ref(&claimed.claim)).await.unwrap();
        let after = world.theirs(&queue, &id).await["heartbeatOn"].clone();
        assert!(before.as_str() < after.as_str(), "{before} and {after}");

        world.later(200).await;
        world.node.call("supervise", json!(["mail"])).await;
        let theirs = world.theirs(&queue, &id).await;
        assert_eq!(theirs["output"]["value"]["message"], "job heartbeat timeout", "{theirs}");
        assert_eq!(world.ours(&queue, &id).await.state, JobState::Failed);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millstream_rescues_what_node_let_expire() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 1, "expireInSeconds": 60 })).await;
        let id = world.node_sends(&queue, json!({}), json!({})).await;
        world.node.call("fetch", json!(["mail"])).await;
        // What Node's workers hold is pg-boss's business as long as it is within its time.
        world.rescue().await;
        assert_eq!(world.ours(&queue, &id).await.state, JobState::Active);

        world.later(61).await;
        world.rescue().await;
        let theirs = world.theirs(&queue, &id).await;
        assert_eq!(theirs["state"], "retry", "{theirs}");
        let late = json!(["mail", [{ "id": id.as_str(), "retryCount": 0 }]]);
        assert_eq!(world.node.call("complete", late).await["affected"], 0);
        let again = world.node.call("fetch", json!(["mail"])).await;
        assert_eq!(again[0]["retryCount"], 1);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millstream_rescues_what_node_stopped_beating_for() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 0, "heartbeatSeconds": 10 })).await;
        let id = world.node_sends(&queue, json!({}), json!({})).await;
        world.node.call("fetch", json!(["mail"])).await;
        world.later(5).await;
        world.rescue().await;
        assert_eq!(world.ours(&queue, &id).await.state, JobState::Active, "its heartbeat is fresh enough");
        world.later(75).await;
        world.rescue().await;
        assert_eq!(world.theirs(&queue, &id).await["state"], "failed");
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_is_killed_and_millstream_goes_on() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 2, "retryDelay": 0, "expireInSeconds": 60 })).await;
        let mut second = Node::start(Release::Current, world::quiet(&world.url())).await;
        second.call("work", json!(["mail"])).await;
        let id = world.node_sends(&queue, json!({ "n": 1 }), json!({})).await;
        assert_eq!(second.job().await["id"], json!(id.as_str()));
        second.kill().await;

        world.later(61).await;
        world.rescue().await;
        let again = world.claim(&queue).await;
        assert_eq!((again.claim.job.as_str(), again.attempt), (id.as_str(), 2));
        assert_eq!(world.settle(&again, Outcome::Done(json!("ours"))).await, JobState::Completed);
        world.close().await;
    }
}

/// A part of the next test: claims a job, says so, and waits for its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_that_holds_a_job() {
    let Ok(url) = env::var(PART) else { return };
    let options = PgBossOptions { supervise: false, schedule: false, ..PgBossOptions::new(url) };
    let store = PgBossStore::connect(options, StoreOptions::default()).await.unwrap();
    let want = Want::new(QueueName::new("mail").unwrap(), 1);
    let claimed = store.claim(&[want]).await.unwrap().remove(0);
    std::io::Write::write_all(&mut std::io::stdout(), format!("\nholds {}\n", claimed.claim.job).as_bytes()).unwrap();
    // Until it is killed: nobody writes there, and nobody closes it.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millstream_is_killed_and_node_goes_on() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 2, "retryDelay": 0, "expireInSeconds": 60 })).await;
        let id = world.node_sends(&queue, json!({ "n": 1 }), json!({})).await;
        let mut part = Command::new(env::current_exe().unwrap());
        part.args(["--exact", "part_that_holds_a_job", "--nocapture"]).env(PART, world.url());
        let mut part = part.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(part.stdout.take().unwrap()).lines();
        let held = lines.map(Result::unwrap).find(|line| line.starts_with("holds ")).expect("it claims the job");
        assert_eq!(held, format!("holds {id}"));
        part.kill().unwrap();
        part.wait().unwrap();

        world.later(61).await;
        world.node.call("supervise", json!(["mail"])).await;
        world.node.call("work", json!(["mail"])).await;
        let again = world.node.job().await;
        assert_eq!((&again["id"], &again["retryCount"]), (&json!(id.as_str()), &json!(1)));
        world.node.settle(&again, json!({ "return": { "by": "node" } })).await;
        world::until("Node settles", async || world.ours(&queue, &id).await.state == JobState::Completed).await;
        world.close().await;
    }
}

/// What a killed process of ours held comes back by its lease, long before pg-boss would let it expire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_before_pg_boss_gives_up() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "retryLimit": 2, "retryDelay": 0 })).await;
        let id = world.node_sends(&queue, json!({}), json!({})).await;
        let options = PgBossOptions { supervise: false, schedule: false, ..PgBossOptions::new(world.url()) };
        let lease = Duration::from_millis(300);
        let short = PgBossStore::connect(options, StoreOptions { lease, ..StoreOptions::default() }).await.unwrap();
        let want = Want::new(queue.clone(), 1);
        assert_eq!(short.claim(&[want]).await.unwrap().len(), 1);
        world::until("the lease runs out", async || short.rescue().await.unwrap() == 1).await;
        let fetched = world.node.call("fetch", json!(["mail"])).await;
        assert_eq!((&fetched[0]["id"], &fetched[0]["retryCount"]), (&json!(id.as_str()), &json!(1)));
        assert_eq!(world.node.told(), Vec::<Value>::new());
        world.close().await;
    }
}
