//! A limit on groups: both sides send jobs with a group, both work them, and what Node runs counts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use millstream_core::{
    Handler, JobContext, JobError, JobName, JobStore as _, NewJob, Outcome, QueueName, QueueProvider as _,
    QueueWorkerOptions, Store as _, Stores, Want, WorkerManager, WorkerOptions,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use world::World;

mod world;

const LIMIT: u32 = 2;
/// Workers of Node's.
const NODES: u32 = 3;

/// Notes each change of a running job.
const JOURNAL: &str = "
    create schema journal;
    create table journal.change (place bigint generated always as identity, job uuid, grp text, step integer);
    create function journal.note() returns trigger language plpgsql as $$
    begin
        if tg_op <> 'DELETE' and new.state = 'active' and (tg_op = 'INSERT' or old.state <> 'active') then
            insert into journal.change (job, grp, step) values (new.id, coalesce(new.group_id, ''), 1);
        elsif tg_op <> 'INSERT' and old.state = 'active' and (tg_op = 'DELETE' or new.state <> 'active') then
            insert into journal.change (job, grp, step) values (old.id, coalesce(old.group_id, ''), -1);
        end if;
        return null;
    end $$;
    create trigger journal after insert or update or delete on pgboss.job for each row execute function journal.note();
";

async fn claim(world: &World, queue: &QueueName, at_most: u32) -> Vec<millstream_core::Claimed> {
    world.store.claim(&[Want::new(queue.clone(), at_most)]).await.unwrap()
}

fn groups(claimed: &[millstream_core::Claimed]) -> Vec<&str> {
    claimed.iter().map(|one| one.data["group"].as_str().unwrap()).collect()
}

/// What Node holds takes slots of its group, and gives them back; what Millstream sends has a group for Node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_node_runs_is_counted() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        world.store.set_group_concurrency(&queue, Some(LIMIT)).await.unwrap();
        for (group, n) in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)] {
            let options = json!({ "group": { "id": group } });
            world.node_sends(&queue, json!({ "group": group, "n": n }), options).await;
        }
        let fetched = world.node.call("fetch", json!(["mail"])).await;
        assert_eq!(fetched[0]["data"], json!({ "group": "a", "n": 0 }));
        let ours = claim(&world, &queue, 9).await;
        assert_eq!(groups(&ours), ["a", "b", "b"], "on {}", world.version);
        assert!(claim(&world, &queue, 9).await.is_empty());
        world.node.call("complete", json!(["mail", fetched[0]["id"]])).await;
        let next = claim(&world, &queue, 9).await;
        assert_eq!(next[0].data, json!({ "group": "a", "n": 2 }), "on {}", world.version);
        assert_eq!(next.len(), 1);
        // Node counts ours by the same column.
        let sent = NewJob::new(queue.clone(), JobName::from(&queue), json!({ "group": "a", "n": 3 })).group("a");
        let sent = world.store.enqueue(&[sent]).await.unwrap().remove(0).id().clone();
        let limited = json!(["mail", { "groupConcurrency": LIMIT, "batchSize": 9 }]);
        let theirs = world.node.call("fetch", limited.clone()).await;
        assert_eq!(theirs, json!([]), "both groups are full for Node, too, on {}", world.version);
        world.settle(&next[0], Outcome::Done(json!(null))).await;
        let theirs = world.node.call("fetch", limited).await;
        assert_eq!((theirs[0]["id"].as_str(), &theirs[0]["groupId"]), (Some(sent.as_str()), &json!("a")));
        world.close().await;
    }
}

/// Tells its test that it runs, and ends when it is told to.
struct Held {
    runs: mpsc::UnboundedSender<()>,
}

#[async_trait::async_trait]
impl Handler for Held {
    async fn run(&self, _: Value, _: JobContext) -> Result<Value, JobError> {
        self.runs.send(())?;
        tokio::task::yield_now().await;
        Ok(json!({ "by": "us" }))
    }
}

/// Workers of both sides on one queue: Node's have their own soft limit. No claim of ours passes the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_work_a_queue_with_groups() {
    for mut world in World::all().await {
        world.client.batch_execute(JOURNAL).await.unwrap();
        let queue = world.queue("mail", json!({})).await;
        world.store.set_group_concurrency(&queue, Some(LIMIT)).await.unwrap();
        let (mut jobs, mut ours) = (Vec::new(), Vec::new());
        for n in 0..20 {
            for group in ["a", "b", "c"] {
                let data = json!({ "group": group, "n": n });
                ours.push(NewJob::new(queue.clone(), JobName::from(&queue), data.clone()).group(group));
                jobs.push(json!({ "data": data, "group": { "id": group } }));
            }
            jobs.push(json!({ "data": { "group": "", "n": n } }));
        }
        let all = jobs.len() + ours.len();
        world.node.call("insert", json!(["mail", jobs])).await;
        world.store.enqueue(&ours).await.unwrap();
        world.node.call("work", json!(["mail", { "localConcurrency": NODES, "groupConcurrency": LIMIT }])).await;
        // Node has one, before ours begin.
        let first = world.node.job().await;
        let (runs, mut ran) = mpsc::unbounded_channel();
        let mut processes = Vec::new();
        for _ in 0..2 {
            let store = world::store(&world.url()).await;
            let workers = WorkerManager::new(Stores::of(store.clone()), WorkerOptions::default());
            workers.register_default(&queue, Arc::new(Held { runs: runs.clone() })).unwrap();
            workers
                .configure(&queue, QueueWorkerOptions { concurrency: Some(4), ..QueueWorkerOptions::default() })
                .unwrap();
            workers.start().await.unwrap();
            processes.push((workers, store));
        }
        let (mut theirs, mut ours) = (1, 0);
        assert!(ran.recv().await.is_some());
        ours += 1;
        world.node.settle(&first, json!({ "return": { "by": "node" } })).await;
        while theirs + ours < all {
            while let Some(job) = world.node.job_now() {
                world.node.settle(&job, json!({ "return": { "by": "node" } })).await;
                theirs += 1;
            }
            if let Ok(Some(())) = tokio::time::timeout(Duration::from_millis(20), ran.recv()).await {
                ours += 1;
            }
        }
        world::until("every job is settled", async || {
            world.asked("select count(*) from pgboss.job where name = 'mail' and state = 'completed'").await
                == Some(all.to_string())
        })
        .await;
        for (workers, store) in processes {
            workers.close_all().await.unwrap();
            store.close().await.unwrap();
        }
        world.node.call("offWork", json!(["mail"])).await;
        check(&world, all).await;
        assert!(theirs > 0 && ours > 0, "both sides had jobs");
        world.close().await;
    }
}

/// Replays the journal. Ours never pass the limit. Beside them Node's own may, by as many as its workers take before they
/// see each other or us: nobody sees a fetch of theirs that is not committed.
async fn check(world: &World, all: usize) {
    let text = "select c.grp, c.step, coalesce(j.output ->> 'by', '') as by from journal.change c \
                join pgboss.job j on j.id = c.job order by c.place";
    let rows = world.client.query(text, &[]).await.unwrap();
    let mut running: HashMap<String, (u32, u32)> = HashMap::new();
    let mut started = 0;
    for row in rows {
        let (group, step, by): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
        let (ours, theirs) = running.entry(group.clone()).or_default();
        let counted = if by == "us" { &mut *ours } else { &mut *theirs };
        if step < 0 {
            *counted -= 1;
            continue;
        }
        *counted += 1;
        started += 1;
        if !group.is_empty() {
            assert!(*ours <= LIMIT, "{}: {ours} of group {group} run with us", world.version);
            assert!(*ours + *theirs <= LIMIT + NODES, "{}: {ours} and {theirs} of group {group} run", world.version);
        }
    }
    assert_eq!(started, all, "{}: each job ran once", world.version);
}
