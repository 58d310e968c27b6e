//! Both sides work one queue at once, under every policy: no job runs twice, and no two that exclude each other.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use millstream_core::{Handler, JobContext, JobError, QueueWorkerOptions, WorkerManager, WorkerOptions};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use world::World;

mod world;

const KEYS: usize = 6;
const JOBS: usize = 60;

/// Notes every change of a job's state, in the order in which the changes happened.
const JOURNAL: &str = "
    create schema journal;
    create table journal.change (
        place bigint generated always as identity, queue text, job uuid, key text, born timestamptz,
        was text, is_now text, retries integer
    );
    create function journal.note() returns trigger language plpgsql as $$
    begin
        if tg_op = 'DELETE' then
            insert into journal.change (queue, job, key, born, was, retries)
            values (old.name, old.id, coalesce(old.singleton_key, ''), old.created_on, old.state, old.retry_count);
        elsif tg_op = 'INSERT' then
            insert into journal.change (queue, job, key, born, is_now, retries)
            values (new.name, new.id, coalesce(new.singleton_key, ''), new.created_on, new.state, new.retry_count);
        elsif old.state <> new.state then
            insert into journal.change (queue, job, key, born, was, is_now, retries)
            values (new.name, new.id, coalesce(new.singleton_key, ''), new.created_on, old.state, new.state, new.retry_count);
        end if;
        return null;
    end $$;
    create trigger journal after insert or update or delete on pgboss.job for each row execute function journal.note();
";

struct Change {
    job: String,
    key: String,
    born: String,
    state: Option<String>,
}

/// Works until both sides have had a job at the same time, so that no run passes with one side asleep.
struct Shared {
    met: Arc<Barrier>,
    first: AtomicUsize,
    done: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Handler for Shared {
    async fn run(&self, input: Value, _: JobContext) -> Result<Value, JobError> {
        if self.first.fetch_add(1, Ordering::SeqCst) == 0 {
            self.met.wait().await;
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(json!({ "by": "us", "n": input["n"] }))
    }
}

async fn both_work(world: &mut World, policy: &str, partition: bool) {
    let name = world::queue(policy, partition);
    let queue = world.queue(&name, json!({ "policy": policy, "partition": partition })).await;
    let mut sent = HashSet::new();
    for n in 0..JOBS {
        let options = json!({ "singletonKey": format!("k{}", n % KEYS) });
        let id = world.node.call("send", json!([name, { "n": n }, options])).await;
        sent.extend(id.as_str().map(str::to_owned));
    }
    let kept = match policy {
        "short" | "stately" | "exclusive" => KEYS,
        _ => JOBS,
    };
    assert_eq!(sent.len(), kept, "{name}: the policy refuses the rest");

    let (met, done) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    let workers = WorkerManager::new(world.stores(), WorkerOptions::default());
    workers
        .register_default(&queue, Arc::new(Shared { met: met.clone(), first: AtomicUsize::new(0), done: done.clone() }))
        .unwrap();
    workers.configure(&queue, QueueWorkerOptions { concurrency: Some(3), ..QueueWorkerOptions::default() }).unwrap();
    // Node takes the first, so that it has one; then ours begin.
    world.node.call("work", json!([name, { "localConcurrency": 3 }])).await;
    let mut theirs = 0;
    let first = world.node.job().await;
    workers.start().await.unwrap();
    met.wait().await;
    world.node.settle(&first, json!({ "return": { "by": "node" } })).await;
    theirs += 1;
    while theirs + done.load(Ordering::SeqCst) < kept {
        match world.node.job_now() {
            Some(job) => {
                world.node.settle(&job, json!({ "return": { "by": "node" } })).await;
                theirs += 1;
            }
            None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    }
    workers.close_all().await.unwrap();
    world.node.call("offWork", json!([name])).await;
    world::until("every job is settled", async || {
        world.asked(&format!("select count(*) from pgboss.job where name = '{name}' and state = 'completed'")).await
            == Some(kept.to_string())
    })
    .await;
    check(world, policy, &name, kept).await;
    assert!(done.load(Ordering::SeqCst) > 0 && theirs > 0, "{name}: both sides had jobs");
}

/// Replays the journal.
async fn check(world: &World, policy: &str, name: &str, kept: usize) {
    let text = "select job::text, key, born::text, is_now from journal.change where queue = $1 order by place";
    let rows = world.client.query(text, &[&name]).await.unwrap();
    let changes =
        rows.iter().map(|row| Change { job: row.get(0), key: row.get(1), born: row.get(2), state: row.get(3) });
    // By key: the jobs that are there, with their states.
    let mut keys: HashMap<String, HashMap<String, String>> = HashMap::new();
    let mut started: HashMap<String, usize> = HashMap::new();
    let mut order: HashMap<String, Vec<String>> = HashMap::new();
    for change in changes {
        let jobs = keys.entry(change.key.clone()).or_default();
        match &change.state {
            None => drop(jobs.remove(&change.job)),
            Some(state) => drop(jobs.insert(change.job.clone(), state.clone())),
        }
        if change.state.as_deref() == Some("active") {
            *started.entry(change.job.clone()).or_default() += 1;
            order.entry(change.key.clone()).or_default().push(change.born.clone());
        }
        let count = |states: &[&str]| jobs.values().filter(|state| states.contains(&&***state)).count();
        let at_most_one: &[&[&str]] = match policy {
            "short" => &[&["created"]],
            "singleton" => &[&["active"]],
            "stately" => &[&["created"], &["retry"], &["active"]],
            "exclusive" => &[&["created", "retry", "active"]],
            "key_strict_fifo" => &[&["active", "retry", "failed"]],
            _ => &[],
        };
        for states in at_most_one {
            assert!(count(states) <= 1, "{name}: two of key {} are {states:?}", change.key);
        }
    }
    assert_eq!(started.len(), kept, "{name}");
    assert!(started.values().all(|times| *times == 1), "{name}: a job ran twice: {started:?}");
    if policy == "key_strict_fifo" {
        for (key, born) in order {
            assert!(born.is_sorted(), "{name}: key {key} ran out of order: {born:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_work_one_queue() {
    for mut world in World::all().await {
        world.client.batch_execute(JOURNAL).await.unwrap();
        for policy in world::policies() {
            both_work(&mut world, policy, false).await;
        }
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_work_a_queue_with_a_table_of_its_own() {
    for mut world in World::all().await {
        world.client.batch_execute(JOURNAL).await.unwrap();
        for policy in world::policies() {
            both_work(&mut world, policy, true).await;
        }
        world.close().await;
    }
}
