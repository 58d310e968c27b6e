//! Workers that are killed, stopped past their lease, or interrupted: every job settles once. Real processes, on one
//! file.

use std::{
    collections::HashMap,
    future::poll_fn,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use millstream::{
    BoxStream, Config, EventQuery, JobName, JobState, NewJob, Pattern, QueueEvent, QueueEventKind, QueueName, Sources,
    StateOp, Stores, limits::PAGE_ROWS_MAX,
};
use serde_json::json;

/// Far above what anything here takes; a test that waits this long is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
const JOBS: usize = 2_000;

struct World {
    directory: tempfile::TempDir,
    stores: Stores,
}

/// A worker process, killed with the test.
struct Worker(Child);

impl World {
    /// One file, a short lease, and a log of everything that happens to a job.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = "[store]\nleaseMs = 2000\n[queue]\nevents = \"all\"\n[queues.q.defaultJobOptions]\nattempts = 50\n";
        std::fs::write(directory.path().join("millstream.toml"), file).unwrap();
        let sources = Sources::default().directory(directory.path());
        let stores = Config::load(&sources).unwrap().open().await.unwrap();
        Self { directory, stores }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn work(&self, exec: &str, more: &[&str]) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["work", "--queue", "q", "--exec", exec]).args(more).current_dir(self.path());
        // The machine's own settings are not this test's.
        command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
        Worker(command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap())
    }

    async fn watch(&self) -> BoxStream<QueueEvent> {
        self.stores.queue.watch(&queue()).await.unwrap()
    }
}

impl Worker {
    /// Sends a signal by name.
    fn signal(&self, name: &str) {
        // The shell's own `kill`: a small system has no other.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.0.id())).status().unwrap();
        assert!(sent.success(), "the worker to signal {name} is gone");
    }

    async fn ended(mut self) -> ExitStatus {
        let waiting = tokio::task::spawn_blocking(move || self.0.wait().unwrap());
        tokio::time::timeout(PATIENCE, waiting).await.expect("the worker ends").unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already gone in a test that went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

/// Waits for the next event of this kind.
async fn next(events: &mut BoxStream<QueueEvent>, kind: QueueEventKind) -> QueueEvent {
    let coming = async {
        loop {
            let event = poll_fn(|cx| events.as_mut().poll_next(cx)).await.expect("the store is open");
            if event.kind == kind {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, coming).await.unwrap_or_else(|_| panic!("no {kind:?} came"))
}

/// Stops a worker where it does not hold the file's write lock: a process that is stopped inside a transaction stops
/// everybody, which is SQLite's way and not what this is about.
async fn stop_outside_a_write(worker: &Worker, stores: &Stores) {
    loop {
        worker.signal("STOP");
        let write = [StateOp::Set { key: "probe".into(), value: json!(1), ttl: None }];
        match tokio::time::timeout(Duration::from_secs(1), stores.state.apply(&write)).await {
            Ok(written) => return written.unwrap(),
            Err(_) => worker.signal("CONT"),
        }
    }
}

/// How often each job was completed, by the log.
async fn completions(stores: &Stores) -> HashMap<String, u32> {
    let mut query = EventQuery::of(Pattern::new("nq:queue:q").unwrap());
    query.kinds = vec!["job.completed".into()];
    query.limit = PAGE_ROWS_MAX;
    let mut times = HashMap::new();
    loop {
        let page = stores.events.query(&query).await.unwrap();
        let Some(last) = page.last() else { return times };
        query.after = Some(last.id);
        for event in page {
            *times.entry(event.data["job"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_settles_once_though_workers_are_killed_and_stopped() {
    let world = World::new().await;
    let jobs: Vec<NewJob> =
        (0..JOBS).map(|n| NewJob::new(queue(), JobName::new("work").unwrap(), json!({ "n": n }))).collect();
    world.stores.queue.enqueue(&jobs).await.unwrap();
    let mut events = world.watch().await;
    let concurrent = ["--concurrency", "4", "--drain"];
    let [killed, stopped, left] = [(); 3].map(|()| world.work("cat", &concurrent));
    for _ in 0..100 {
        next(&mut events, QueueEventKind::Completed).await;
    }
    killed.signal("KILL");
    stop_outside_a_write(&stopped, &world.stores).await;
    // Some job of a killed or stopped worker: its lease has passed, by the store's clock, and so has the others'.
    next(&mut events, QueueEventKind::Stalled).await;
    stopped.signal("CONT");
    assert!(!killed.ended().await.success());
    assert!(stopped.ended().await.success(), "the worker that was stopped goes on");
    assert!(left.ended().await.success());

    let counts = world.stores.queue.counts(&queue()).await.unwrap();
    assert_eq!((counts.completed, counts.total()), (JOBS as u64, JOBS as u64), "{counts:?}");
    let completions = completions(&world.stores).await;
    assert_eq!(completions.len(), JOBS);
    let doubled: Vec<_> = completions.iter().filter(|(_, times)| **times != 1).collect();
    assert!(doubled.is_empty(), "settled more than once: {doubled:?}");
    world.stores.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_in_the_middle_of_a_job_loses_nothing() {
    let world = World::new().await;
    let job = NewJob::new(queue(), JobName::new("work").unwrap(), json!({ "n": 1 }));
    let id = world.stores.queue.enqueue(&[job]).await.unwrap().remove(0).id().clone();
    let mut events = world.watch().await;
    let first = world.work("sleep 600", &["--grace", "0s"]);
    next(&mut events, QueueEventKind::Active).await;
    first.signal("INT");
    assert!(first.ended().await.code().is_some(), "it ends by itself, not by the signal");
    let job = world.stores.queue.job(&queue(), &id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Waiting, 0), "back in its queue, no attempt burned");

    let second = world.work("cat", &["--drain"]);
    assert!(second.ended().await.success());
    let job = world.stores.queue.job(&queue(), &id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempt, job.output), (JobState::Completed, 1, Some(json!({ "n": 1 }))));
    world.stores.close().await.unwrap();
}
