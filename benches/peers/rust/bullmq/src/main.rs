//! BullMQ's official Rust client on Redis: two workers of 100, eight connections that add. Finished jobs are removed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bullmq::{
    BulkJob, Job, Queue, QueueOptions, Worker, WorkerOptions, options::RedisConnectionOptions, types::RemoveOnFinish,
    worker::CancellationToken,
};
use driver::{Failure, Peer, Plan, Seen};
use serde_json::Value;

const CONNECTIONS: usize = 8;
const BULK: usize = 1_000;
const WORKERS: usize = 2;
const CONCURRENCY: usize = 100;

#[derive(Clone)]
struct Bullmq {
    plan: Arc<Plan>,
    queues: Arc<Vec<Queue>>,
    next: Arc<AtomicUsize>,
    workers: Arc<Mutex<Vec<Worker>>>,
}

impl Bullmq {
    fn queue(&self) -> &Queue {
        &self.queues[self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len()]
    }
}

impl Peer for Bullmq {
    const REMOVES: bool = true;

    async fn one(&self, job: Value) -> Result<(), Failure> {
        self.queue().add("noop", job).await?;
        Ok(())
    }

    async fn many(&self, jobs: Vec<Value>) -> Result<(), Failure> {
        for jobs in jobs.chunks(BULK) {
            self.queue().add_bulk(jobs.iter().map(|job| BulkJob::new("noop", job.clone())).collect()).await?;
        }
        Ok(())
    }

    async fn work(&self, seen: Seen) -> Result<(), Failure> {
        let workers = if self.plan.is_latency() { 1 } else { WORKERS };
        for _ in 0..workers {
            let seen = seen.clone();
            let processor = move |_: Job, _: CancellationToken| {
                seen();
                async { Ok(Value::Null) }
            };
            let options = WorkerOptions {
                connection: connection(&self.plan.url),
                concurrency: CONCURRENCY,
                remove_on_complete: Some(RemoveOnFinish::Bool(true)),
                ..WorkerOptions::default()
            };
            let worker = Worker::with_options("bench", processor, options).await?;
            self.workers.lock().map_err(|_| "a worker panicked")?.push(worker);
        }
        Ok(())
    }

    async fn unfinished(&self) -> Result<bool, Failure> {
        let counts = self.queues[0].get_job_counts().await?;
        Ok(counts.waiting + counts.active + counts.delayed + counts.prioritized > 0)
    }
}

fn connection(url: &str) -> RedisConnectionOptions {
    RedisConnectionOptions { url: url.to_owned(), ..RedisConnectionOptions::default() }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let plan = Plan::from_arguments()?;
    let mut queues = Vec::new();
    for _ in 0..CONNECTIONS {
        let options = QueueOptions::new().connection(connection(&plan.url));
        queues.push(Queue::with_options("bench", options).await?);
    }
    let peer = Bullmq {
        plan: Arc::new(plan.clone()),
        queues: Arc::new(queues),
        next: Arc::default(),
        workers: Arc::default(),
    };
    driver::run(plan, peer).await
}
