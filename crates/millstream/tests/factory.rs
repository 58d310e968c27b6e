//! What a configuration opens: which stores are one, and that outcome and effects reach all of them.

use std::time::Duration;

use millstream::{
    Append, Config, EventQuery, JobContext, JobError, JobName, NewEvent, Pattern, Queue, Retention, Sources,
    StreamName, WorkerManager,
};

fn sources(directory: &tempfile::TempDir) -> Sources {
    Sources::default().directory(directory.path())
}

/// Runs one job whose handler appends an event and sets state, and answers what the stores say then.
async fn one_job(sources: &Sources) -> (usize, Option<serde_json::Value>) {
    let config = Config::load(sources).expect("loads");
    let stores = config.open().await.expect("opens");
    let queue = Queue::new(stores.queue.clone(), "mail").expect("a name");
    let workers = WorkerManager::new(stores.clone(), config.worker_options());
    let handler = async |to: String, ctx: JobContext| {
        let event = NewEvent::new("mail.sent", to.clone().into());
        ctx.append(Append::one(StreamName::new("mail")?, event));
        ctx.set_state("last", to.clone().into(), None);
        Ok::<_, JobError>(to)
    };
    workers.register(queue.name(), &JobName::new("welcome").expect("a name"), handler).expect("registers");
    config.configure(&workers).expect("configures");
    workers.start().await.expect("starts");
    let job = queue.enqueue("welcome", "ada").await.expect("enqueues");
    let done = queue.finished(job.id()).await.expect("finishes").expect("is there");
    assert_eq!(done.output, Some("ada".into()));
    workers.close_all().await.expect("closes");
    let events = stores.events.query(&EventQuery::of(Pattern::All)).await.expect("reads");
    let last = stores.state.get("last").await.expect("reads");
    stores.close().await.expect("closes");
    (events.len(), last)
}

#[tokio::test]
async fn stores_of_one_file_are_one_realm() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config::load(&sources(&directory).set("state.sqlite.path", "./millstream.db")).expect("loads");
    let stores = config.open().await.expect("opens");
    assert_eq!(stores.queue.realm(), stores.events.realm());
    assert_eq!(stores.queue.realm(), stores.state.realm());
    stores.close().await.expect("closes");
    let memory = Config::load(&sources(&directory).set("queue.adapter", "memory")).expect("loads");
    let stores = memory.open().await.expect("opens");
    assert_eq!(stores.queue.realm(), stores.events.realm());
    stores.close().await.expect("closes");
}

#[tokio::test]
async fn effects_arrive_in_one_file_and_across_files() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(one_job(&sources(&directory)).await, (1, Some("ada".into())));
    let split = sources(&directory)
        .set("queue.sqlite.path", "jobs.db")
        .set("eventStore.sqlite.path", "events.db")
        .set("state.adapter", "memory");
    assert_eq!(one_job(&split).await.1, Some("ada".into()));
    assert!(directory.path().join("events.db").exists());
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_closes_those_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let broken = sources(&directory).set("queue.sqlite.path", "jobs.db").set("state.sqlite.path", "missing/state.db");
    let config = Config::load(&broken).expect("loads");
    let error = config.open().await.err().expect("refused").to_string();
    assert!(error.contains("missing"), "{error}");
    assert_eq!(one_job(&sources(&directory).set("queue.sqlite.path", "jobs.db")).await.0, 1);
}

#[tokio::test]
async fn defaults_reach_the_jobs() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config::load(&sources(&directory).set("queues.mail.defaultJobOptions.attempts", "9")).expect("loads");
    let stores = config.open().await.expect("opens");
    for (name, attempts) in [("mail", 9), ("other", 3)] {
        let queue = Queue::new(stores.queue.clone(), name).expect("a name");
        let job = queue.enqueue("x", ()).await.expect("enqueues");
        let job = queue.get(job.id()).await.expect("reads").expect("is there");
        assert_eq!(job.settings.attempts, attempts);
    }
    stores.close().await.expect("closes");
}

#[tokio::test]
async fn the_log_keeps_events_as_the_configuration_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let sources = sources(&directory)
        .set("queue.adapter", "sqlite")
        .set("eventStore.sqlite.retention.ageDays", "30")
        .set("eventStore.sqlite.retention.events", "1000");
    let config = Config::load(&sources).expect("loads");
    let stores = config.open().await.expect("opens");
    let info = stores.events.retention().await.expect("looks");
    let month = Retention { age: Some(Duration::from_secs(30 * 86_400)), bytes: None, events: Some(1_000) };
    assert_eq!((info.retention, info.set), (month, false));
    stores.close().await.expect("closes");
}
