//! `millstream jobs`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use millstream::{
    Job, JobId, JobName, JobState, JobsQuery, QueueName, QueueProvider, Timestamp,
    limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX},
};
use serde_json::{Value, json};

use crate::{
    args,
    failure::Failure,
    output::{Output, Table, brief, time, time_or_dash},
    session::Session,
};

/// Look at jobs, and steer them.
#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// The newest jobs of a queue.
    List(List),
    /// One job, with everything that is known about it.
    Get(One),
    /// Cancel jobs; a running one is told to stop.
    Cancel(Many),
    /// Run finished jobs again, with at least one more attempt.
    Retry(Many),
    /// Remove jobs in whatever state.
    Remove(Many),
    /// Make delayed jobs ready now.
    Promote(Many),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The queue.
    queue: QueueName,
    /// Only these states: waiting, delayed, active, completed, failed, cancelled.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<JobState>,
    /// Only jobs of this name.
    #[arg(long)]
    name: Option<JobName>,
    /// Only jobs enqueued at or after this time.
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    since: Option<Timestamp>,
    /// Only jobs enqueued before this time.
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    until: Option<Timestamp>,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = PAGE_ROWS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_ROWS_MAX)))]
    limit: u32,
    /// The page after this one: the `next` of the page before.
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The queue.
    queue: QueueName,
    /// The job's id.
    id: JobId,
}

#[derive(Debug, Args)]
pub(crate) struct Many {
    /// The queue.
    queue: QueueName,
    /// The jobs' ids.
    #[arg(required = true)]
    ids: Vec<JobId>,
}

/// What can be done to a job.
#[derive(Clone, Copy)]
enum Step {
    Cancel,
    Retry,
    Remove,
    Promote,
}

impl Jobs {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Get(one) => one.run(session).await,
            Self::Cancel(many) => many.run(session, Step::Cancel).await,
            Self::Retry(many) => many.run(session, Step::Retry).await,
            Self::Remove(many) => many.run(session, Step::Remove).await,
            Self::Promote(many) => many.run(session, Step::Promote).await,
        }
    }
}

impl List {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let query = JobsQuery {
            states: self.state.clone(),
            name: self.name.clone(),
            since: self.since,
            until: self.until,
            after: self.after.as_deref().map(Into::into),
            limit: self.limit,
            ..JobsQuery::of(self.queue.clone())
        };
        let page = session.stores.queue.jobs(&query).await?;
        let output = &session.output;
        output.either(&page, || table(&page.items, output))?;
        if page.items.is_empty() {
            output.talk(format_args!("no such jobs in queue `{}`", self.queue));
        }
        if let Some(next) = &page.next {
            output.talk(format_args!("more: --after {next}"));
        }
        Ok(())
    }
}

fn table(jobs: &[Job], output: &Output) -> String {
    const LAST_CHARS_MAX: usize = 60;
    let mut table = Table::new(["ID", "NAME", "STATE", "ATTEMPT", "ENQUEUED", "LAST"]);
    for job in jobs {
        table.row([
            job.id.to_string(),
            job.name.to_string(),
            output.state(job.state),
            format!("{}/{}", job.attempt, job.settings.attempts),
            time(job.created_at),
            brief(&last(job), LAST_CHARS_MAX),
        ]);
    }
    table.text(output)
}

/// What there is to say about a job right now: its output, error, progress, or when it runs.
fn last(job: &Job) -> Value {
    let message = |error: &Value| error.get("message").unwrap_or(error).clone();
    match job.state {
        JobState::Completed => job.output.clone().unwrap_or_default(),
        JobState::Failed | JobState::Cancelled => job.error.as_ref().map(message).unwrap_or_default(),
        JobState::Delayed => format!("runs at {}", time(job.run_at)).into(),
        JobState::Waiting => job.error.as_ref().map(message).unwrap_or_default(),
        JobState::Active => job.progress.as_ref().map(|value| format!("progress {value}").into()).unwrap_or_default(),
    }
}

impl One {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let job = session.stores.queue.job(&self.queue, &self.id).await?;
        let job = job.ok_or_else(|| missing(&self.queue, &self.id))?;
        session.output.either(&job, || sheet(&job, &session.output))
    }
}

fn sheet(job: &Job, output: &Output) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {value}", output.faint(&format!("{name:<10}")));
    };
    line("id", job.id.to_string());
    line("queue", job.queue.to_string());
    line("name", job.name.to_string());
    line("state", output.state(job.state));
    line("attempt", format!("{} of {}", job.attempt, job.settings.attempts));
    line("priority", job.settings.priority.to_string());
    line("enqueued", time(job.created_at));
    line("ready", time(job.run_at));
    line("started", time_or_dash(job.started_at));
    line("finished", time_or_dash(job.finished_at));
    if job.cancel_requested {
        line("cancel", "asked for".into());
    }
    for (name, value) in [("progress", &job.progress), ("output", &job.output), ("error", &job.error)] {
        if let Some(value) = value {
            line(name, value.to_string());
        }
    }
    line("data", job.data.to_string());
    text.trim_end().to_owned()
}

impl Many {
    async fn run(&self, session: &Session, step: Step) -> Result<(), Failure> {
        let queue = &*session.stores.queue;
        let (mut refused, mut printed) = (Vec::new(), Ok(()));
        for id in &self.ids {
            let done = step.take(queue, &self.queue, id).await?;
            let value = json!({ "queue": self.queue, "id": id, step.done(): done });
            if session.output.json {
                // Whoever reads on may have enough; the rest of the jobs was asked for all the same.
                printed = printed.and_then(|()| session.output.json(&value));
            }
            if done {
                session.output.talk(format_args!("{} `{id}`", step.done()));
            } else {
                refused.push(step.why_not(queue, &self.queue, id).await?);
            }
        }
        if refused.is_empty() { printed } else { Err(Failure::new(refused.join("; "))) }
    }
}

impl Step {
    async fn take(self, store: &dyn QueueProvider, queue: &QueueName, id: &JobId) -> millstream::Result<bool> {
        match self {
            Self::Cancel => store.cancel(queue, id).await,
            Self::Retry => store.retry(queue, id).await,
            Self::Remove => store.remove(queue, id).await,
            Self::Promote => store.promote(queue, id).await,
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Retry => "retried",
            Self::Remove => "removed",
            Self::Promote => "promoted",
        }
    }

    async fn why_not(self, store: &dyn QueueProvider, queue: &QueueName, id: &JobId) -> Result<String, Failure> {
        let Some(job) = store.job(queue, id).await? else { return Ok(no_job(queue, id)) };
        let expected = match self {
            Self::Cancel => "waiting, delayed or active",
            Self::Retry => "completed, failed or cancelled",
            Self::Remove => "any state",
            Self::Promote => "delayed",
        };
        Ok(format!("job `{id}` of queue `{queue}` is {}, expected {expected}", job.state))
    }
}

fn no_job(queue: &QueueName, id: &JobId) -> String {
    format!("queue `{queue}` has no job `{id}`")
}

fn missing(queue: &QueueName, id: &JobId) -> Failure {
    Failure::new(no_job(queue, id))
}
