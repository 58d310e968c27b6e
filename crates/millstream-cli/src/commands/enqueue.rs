//! `millstream enqueue`.

use std::time::Duration;

use clap::Args;
use millstream::{JobId, JobName, NewJob, QueueName, RunAt, Timestamp, limits::ENQUEUE_BATCH_MAX};
use serde_json::{Value, json};

use crate::{
    args::{self, JobOptionArgs, duration, json, json_file},
    cli::Globals,
    failure::Failure,
    lines,
    output::Output,
    session::Session,
};

/// Enqueue a job, or one for each line of a file.
#[derive(Debug, Args)]
pub(crate) struct Enqueue {
    /// The queue.
    queue: QueueName,
    /// The job's name: which handler runs it. Without one, it goes by its queue's.
    name: Option<JobName>,
    /// The job's data as JSON; `-` reads it from stdin.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["data_file", "lines"])]
    data: Option<String>,
    /// The job's data from a file; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "lines")]
    data_file: Option<String>,
    /// One job for each line of a file of JSON lines; `-` is stdin. All lines are checked before any is enqueued.
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    lines: Option<String>,
    /// Your own id: a second job with it is refused as a duplicate, whatever became of the first.
    #[arg(long, value_name = "ID")]
    id: Option<JobId>,
    /// Wait this long before the first attempt: `500ms`, `10s`, `5m`, `2h`, `1d`.
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "run_at", allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Run at this time: `2026-11-21T08:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    run_at: Option<Timestamp>,
    #[command(flatten)]
    options: JobOptionArgs,
}

impl Enqueue {
    pub(crate) async fn run(&self, globals: &Globals, output: &Output) -> Result<(), Failure> {
        // Read before a store is opened: a mistake leaves nothing behind, not even an empty file.
        let jobs: Vec<NewJob> = self.data()?.into_iter().map(|data| self.job(data)).collect();
        let session = Session::open(globals, output).await?;
        let done = self.enqueue(&session, &jobs).await;
        session.close(done).await
    }

    fn data(&self) -> Result<Vec<Value>, Failure> {
        match (&self.data, &self.data_file, &self.lines) {
            (Some(text), ..) => Ok(vec![json("--data", text)?]),
            (_, Some(path), _) => Ok(vec![json_file("--data-file", path)?]),
            (.., Some(path)) => lines::payloads(path),
            _ => Ok(vec![Value::Null]),
        }
    }

    fn job(&self, data: Value) -> NewJob {
        let name = self.name.clone().unwrap_or_else(|| JobName::from(&self.queue));
        let mut job = NewJob::new(self.queue.clone(), name, data);
        job.id = self.id.clone();
        job.run_at = self.delay.map(RunAt::After).or(self.run_at.map(RunAt::At));
        job.options = self.options.options();
        job
    }

    async fn enqueue(&self, session: &Session, jobs: &[NewJob]) -> Result<(), Failure> {
        let (mut created, mut printed) = (0, Ok(()));
        for batch in jobs.chunks(ENQUEUE_BATCH_MAX) {
            for answer in session.stores.queue.enqueue(batch).await? {
                let new = answer.is_created();
                created += usize::from(new);
                let value = json!({ "queue": self.queue, "id": answer.id(), "created": new });
                // Whoever reads the ids may have enough of them; the jobs are enqueued all the same.
                printed = printed.and_then(|()| session.output.either(&value, || answer.id().to_string()));
                if !new {
                    session.output.talk(format_args!("queue `{}` already has job `{}`", self.queue, answer.id()));
                }
            }
        }
        if jobs.len() != 1 {
            session.output.talk(format_args!("{created} of {} jobs enqueued", jobs.len()));
        }
        printed
    }
}
