//! The pipeline: `demo.webhooks` checks and enriches, `demo.notify` tells subscribers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream::{
    Append, Backoff, Clock, Handler, JobContext, JobError, JobId, JobName, NewEvent, NewJob, QueueName, Removal,
    Result, StreamName, SystemClock, WorkerManager,
};
use serde_json::{Value, json};

/// What a step takes in a world that is not a demo: a call to another service.
const STEP: Duration = Duration::from_millis(15);
/// Every so many jobs, the first attempt fails.
const FAILS_EVERY: usize = 5;
const FLOW: &str = "webhook";

/// The last event of every job: there are as many as completed jobs.
pub(super) const LAST_EVENTS: [&str; 2] = ["webhook.handled", "subscriber.notified"];

/// The pipeline's queues, and the names of one run of it.
pub(super) struct Pipeline {
    pub(super) webhooks: QueueName,
    pub(super) notify: QueueName,
    /// The beginning of every stream of this run.
    pub(super) streams: String,
    run: String,
}

impl Pipeline {
    pub(super) fn new(run: &str) -> Result<Self> {
        Ok(Self {
            webhooks: QueueName::new("demo.webhooks")?,
            notify: QueueName::new("demo.notify")?,
            streams: format!("nq:flow:{run}-"),
            run: run.to_owned(),
        })
    }

    /// The job of one webhook. Its name is the kind of event, as a router would choose it.
    pub(super) fn job(&self, index: usize, webhook: Value) -> Result<NewJob> {
        let kind = webhook.get("event").and_then(Value::as_str).unwrap_or("unknown");
        let name = JobName::new(kind).or_else(|_| JobName::new("unknown"))?;
        Ok(as_the_demo_needs(NewJob::new(self.webhooks.clone(), name, webhook).id(self.id(index)?)))
    }

    /// The id of the job of one webhook.
    pub(super) fn id(&self, index: usize) -> Result<JobId> {
        JobId::new(format!("{}{index:06}", self.ids()))
    }

    /// The beginning of every job's id of this run.
    pub(super) fn ids(&self) -> String {
        format!("{}-", self.run)
    }

    pub(super) fn register(&self, workers: &WorkerManager) -> Result<()> {
        let clock = Arc::new(SystemClock::new());
        let steps = Arc::new(Steps { notify: self.notify.clone(), clock });
        workers.register_default(&self.webhooks, Arc::new(Webhooks(steps.clone())))?;
        workers.register_default(&self.notify, Arc::new(Notify(steps)))
    }
}

/// Whatever the queue's defaults are, a demo's retries are quick, and its jobs are there to be counted.
fn as_the_demo_needs(job: NewJob) -> NewJob {
    let job = job.attempts(3).backoff(Backoff::fixed(Duration::from_millis(250)));
    job.remove_on_complete(Removal::Never).remove_on_fail(Removal::Never)
}

struct Steps {
    notify: QueueName,
    clock: Arc<SystemClock>,
}

struct Webhooks(Arc<Steps>);
struct Notify(Arc<Steps>);

#[async_trait]
impl Handler for Webhooks {
    async fn run(&self, webhook: Value, ctx: JobContext) -> Result<Value, JobError> {
        let steps = &*self.0;
        let summary = steps.validate(&webhook, &ctx).await;
        steps.enrich(&ctx).await?;
        steps.pass_on(&webhook, &summary, &ctx).await?;
        Ok(summary)
    }
}

impl Steps {
    /// What the webhook is about. One that is about nothing known is still a webhook.
    async fn validate(&self, webhook: &Value, ctx: &JobContext) -> Value {
        self.clock.sleep(STEP).await;
        ctx.progress(33);
        let text = |path: &str| webhook.pointer(path).and_then(Value::as_str).unwrap_or("none").to_owned();
        json!({
            "event": text("/event"),
            "action": text("/action"),
            "repository": text("/payload/repository/full_name"),
            "sender": text("/payload/sender/login"),
        })
    }

    /// Asks a directory that is not always there.
    async fn enrich(&self, ctx: &JobContext) -> Result<(), JobError> {
        self.clock.sleep(STEP).await;
        if ctx.attempt() == 1 && number(ctx) % FAILS_EVERY == 2 {
            return Err(JobError::retry("the directory answered 503 (the demo does that on purpose)"));
        }
        ctx.progress(66);
        Ok(())
    }

    /// Events, state and next jobs: all of them with the job's completion, or none.
    async fn pass_on(&self, webhook: &Value, summary: &Value, ctx: &JobContext) -> Result<(), JobError> {
        self.clock.sleep(STEP).await;
        let events = ["webhook.validated", "webhook.enriched", LAST_EVENTS[0]];
        let events = events.into_iter().map(|kind| event(kind, ctx.job_id().as_str(), summary, ctx)).collect();
        ctx.append(Append { stream: stream(ctx.job_id().as_str())?, events, expected: None, key: None });
        let repository = summary["repository"].as_str().unwrap_or("none");
        ctx.set_state(format!("demo:last:{repository}"), summary.clone(), Some(Duration::from_secs(3600)));
        let subscribers = webhook.get("subscribers").and_then(Value::as_array);
        for (index, subscriber) in subscribers.into_iter().flatten().enumerate() {
            let data = json!({ "run": ctx.job_id(), "to": subscriber, "about": summary });
            let id = JobId::new(format!("{}-{index}", ctx.job_id()))?;
            ctx.enqueue(as_the_demo_needs(NewJob::new(self.notify.clone(), JobName::new("mail")?, data).id(id)));
        }
        ctx.progress(100);
        Ok(())
    }
}

#[async_trait]
impl Handler for Notify {
    async fn run(&self, mail: Value, ctx: JobContext) -> Result<Value, JobError> {
        self.0.clock.sleep(STEP).await;
        if ctx.attempt() == 1 && number(&ctx) % FAILS_EVERY == 1 {
            return Err(JobError::retry("the mail server is busy (the demo does that on purpose)"));
        }
        let run = mail["run"].as_str().unwrap_or_default();
        ctx.append(Append::one(stream(run)?, event(LAST_EVENTS[1], run, &mail["to"], &ctx)));
        Ok(json!({ "told": mail["to"] }))
    }
}

fn stream(run: &str) -> Result<StreamName> {
    StreamName::new(format!("nq:flow:{run}"))
}

fn event(kind: &str, run: &str, data: &Value, ctx: &JobContext) -> NewEvent {
    let step = kind.split('.').next_back().unwrap_or(kind);
    let id = format!("{run}__{step}__attempt-{}", ctx.attempt());
    NewEvent::new(kind, data.clone()).run(run, FLOW).step(step, id, ctx.attempt())
}

/// The webhook's place in the input, from the job's id.
fn number(ctx: &JobContext) -> usize {
    ctx.job_id().as_str().split('-').nth(1).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
