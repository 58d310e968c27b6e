//! The keys of the original configuration, set for Millstream and read by Node: of a queue that begins with our job, and
//! of the job.

use millstream::{Config, Sources};
use millstream_core::{NewJob, QueueName};
use serde_json::{Value, json};
use world::World;

mod world;

const DAY: u64 = 86_400;

/// A job of a queue that does not exist yet, from a process configured so: the queue as Node has it, and the job.
async fn sent(world: &mut World, queue: &str, keys: &[(&str, &str)]) -> (Value, Value) {
    let mut sources =
        Sources::default().set("queue.adapter", "pgboss").set("queue.postgres.connectionString", world.url());
    for (key, value) in keys {
        sources = sources.set(format!("queue.postgres.{key}"), *value);
    }
    let stores = Config::load(&sources).unwrap().open().await.unwrap();
    let name = QueueName::new(queue).unwrap();
    let job = NewJob::new(name.clone(), (&name).into(), json!({}));
    let id = stores.queue.enqueue(&[job]).await.unwrap()[0].id().clone();
    stores.close().await.unwrap();
    let row = world.node.call("getQueue", json!([queue])).await;
    (row, world.node.call("getJobById", json!([queue, id.as_str()])).await)
}

/// Seconds between two times of a job, by the database.
async fn apart(world: &World, queue: &str, from: &str, to: &str) -> Option<String> {
    world
        .asked(&format!("select extract(epoch from {to} - {from})::bigint from pgboss.job where name = '{queue}'"))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_stands_where_node_reads_it() {
    for mut world in World::all().await {
        let own: &[(&str, &str)] = &[
            ("retryLimit", "5"),
            ("retryDelay", "7"),
            ("expireInHours", "2"),
            ("retentionDays", "3"),
            ("deleteAfterDays", "9"),
        ];
        let cases = [("own", own, [5, 7, 7_200, 3 * DAY, 9 * DAY]), ("none", &[][..], [3, 60, DAY, 7 * DAY, 30 * DAY])];
        for (name, keys, [limit, delay, expire, retention, deletion]) in cases {
            let (queue, job) = sent(&mut world, name, keys).await;
            for (column, value) in [
                ("retryLimit", limit),
                ("retryDelay", delay),
                ("expireInSeconds", expire),
                ("retentionSeconds", retention),
                ("deleteAfterSeconds", deletion),
            ] {
                assert_eq!(queue[column], json!(value), "{column} of queue `{name}`: {queue}");
                // How long a job waits for somebody is a time of its own.
                if column != "retentionSeconds" {
                    assert_eq!(job[column], json!(value), "{column} of the job in `{name}`: {job}");
                }
            }
            assert_eq!((&queue["policy"], &queue["retryBackoff"]), (&json!("standard"), &json!(false)), "{queue}");
            assert!(job["keepUntil"].is_string(), "{job}");
            assert_eq!(apart(&world, name, "start_after", "keep_until").await, Some(retention.to_string()), "{name}");
        }
        world.close().await;
    }
}

/// A queue that is there keeps what it says, and so do its jobs: the keys are for queues that begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_nodes_stays_as_it_is() {
    for mut world in World::all().await {
        let theirs = json!({ "retryLimit": 1, "retryDelay": 2, "expireInSeconds": 30, "retentionSeconds": 40,
                             "deleteAfterSeconds": 50 });
        world.queue("mail", theirs.clone()).await;
        let keys = [("retryLimit", "5"), ("expireInHours", "2"), ("retentionDays", "3"), ("deleteAfterDays", "9")];
        let (queue, job) = sent(&mut world, "mail", &keys).await;
        for (column, value) in theirs.as_object().unwrap() {
            assert_eq!(&queue[column], value, "{column}: {queue}");
            assert!(column == "retentionSeconds" || &job[column] == value, "{column}: {job}");
        }
        assert_eq!(apart(&world, "mail", "start_after", "keep_until").await.as_deref(), Some("40"));
        world.close().await;
    }
}
