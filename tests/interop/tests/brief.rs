//! Backlogs of jobs that end at once: Millstream locks their rows, and writes start and end in one; Node works beside it.

use std::{
    collections::HashSet,
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use millstream_core::{
    Claimed, Effects, JobState, JobStore as _, Outcome, QueueName, Settlement, StoreOptions, Verdict, Want,
};
use millstream_postgres::pgboss::{PgBossOptions, PgBossStore};
use serde_json::{Value, json};
use world::World;

mod world;

/// Set for the process that is killed while it holds locks: where.
const PART: &str = "MILLSTREAM_INTEROP_LOCKING_PART";
const MANY: usize = 250;

async fn brief(store: &PgBossStore, queue: &QueueName) -> Vec<Claimed> {
    let want = Want { queue: queue.clone(), at_most: MANY as u32, brief: true };
    store.claim(&[want]).await.unwrap()
}

/// Node sends so many jobs.
async fn backlog(world: &mut World, jobs: usize) -> QueueName {
    let queue = world.queue("mail", json!({ "retryLimit": 2, "retryDelay": 0 })).await;
    let all: Vec<Value> = (0..jobs).map(|n| json!({ "data": { "n": n } })).collect();
    world.node.call("insert", json!([queue.as_str(), all])).await;
    queue
}

/// The ids of what Node takes.
async fn fetched(world: &mut World, at_most: usize) -> HashSet<String> {
    let jobs = world.node.call("fetch", json!(["mail", { "batchSize": at_most }])).await;
    let id = |job: &Value| job["id"].as_str().unwrap().to_owned();
    jobs.as_array().map(|jobs| jobs.iter().map(id).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_takes_none_of_what_is_locked_and_sees_its_end() {
    for mut world in World::all().await {
        let queue = backlog(&mut world, MANY + 50).await;
        let claimed = brief(&world.store, &queue).await;
        let ours: HashSet<String> = claimed.iter().map(|one| one.claim.job.to_string()).collect();
        assert!(claimed.iter().all(|one| one.together), "they are to be settled as one");
        let theirs = fetched(&mut world, 2 * MANY).await;
        assert_eq!((ours.len(), theirs.len()), (MANY, 50), "on {}", world.version);
        assert!(ours.is_disjoint(&theirs));

        let settlement = |one: &Claimed| Settlement {
            claim: one.claim.clone(),
            outcome: Outcome::Done(json!({ "by": "millstream" })),
            effects: Effects::default(),
        };
        let batch: Vec<Settlement> = claimed.iter().map(settlement).collect();
        for verdict in world.store.settle(&batch).await.unwrap() {
            assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");
        }
        let job = world.theirs(&queue, &claimed[7].claim.job).await;
        assert_eq!(
            (&job["state"], &job["retryCount"], &job["output"]),
            (&json!("completed"), &json!(0), &json!({ "by": "millstream" }))
        );
        let time = |key: &str| job[key].as_str().unwrap_or_else(|| panic!("{key} of {job}")).to_owned();
        assert!(time("createdOn") <= time("startedOn") && time("startedOn") <= time("completedOn"), "{job}");
        world.close().await;
    }
}

/// A part of the next test: locks jobs, says so, and waits for its end.
#[tokio::test(flavor = "current_thread")]
async fn part_that_locks_jobs() {
    let Ok(url) = env::var(PART) else { return };
    let options = PgBossOptions { supervise: false, schedule: false, ..PgBossOptions::new(url) };
    let store = PgBossStore::connect(options, StoreOptions::default()).await.unwrap();
    let claimed = brief(&store, &QueueName::new("mail").unwrap()).await;
    std::io::Write::write_all(&mut std::io::stdout(), format!("\nlocks {}\n", claimed.len()).as_bytes()).unwrap();
    // Blocks the only thread, as a handler may that knows no better: nothing starts the jobs before it is killed.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_goes_on_with_what_a_killed_worker_had_locked() {
    for mut world in World::all().await {
        let queue = backlog(&mut world, MANY).await;
        let mut part = Command::new(env::current_exe().unwrap());
        part.args(["--exact", "part_that_locks_jobs", "--nocapture"]).env(PART, world.url());
        let mut part = part.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(part.stdout.take().unwrap()).lines();
        let locks = lines.map(Result::unwrap).find(|line| line.starts_with("locks ")).expect("it claims the jobs");
        assert_eq!(locks, format!("locks {MANY}"));
        part.kill().unwrap();
        part.wait().unwrap();

        // Half of them begin again with Node, the rest with us; no lease has to run out.
        let mut theirs = HashSet::new();
        while theirs.len() < MANY / 2 {
            theirs.extend(fetched(&mut world, MANY / 2 - theirs.len()).await);
        }
        let ours = world.store.claim(&[Want::new(queue.clone(), MANY as u32)]).await.unwrap();
        assert_eq!(ours.len(), MANY / 2, "on {}", world.version);
        let ids: HashSet<String> = ours.iter().map(|one| one.claim.job.to_string()).collect();
        assert!(ids.is_disjoint(&theirs));
        // What the killed one had begun was an attempt.
        assert!(ours.iter().all(|one| one.attempt == 2), "on {}", world.version);
        world.close().await;
    }
}
