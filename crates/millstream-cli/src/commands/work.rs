//! `millstream work`.

mod child;
mod exec;

use std::{sync::Arc, time::Duration};

use clap::Args;
use millstream::{
    Clock, JobName, QueueName, QueueWorkerOptions, SystemClock, Worker, WorkerManager, WorkerOptions,
    limits::CONCURRENCY_MAX,
};

use crate::{
    args::duration,
    cli::Globals,
    failure::Failure,
    output::Output,
    session::{Interrupts, Session},
};
use exec::Exec;

/// How often the command looks whether its workers are done.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a store may take to close before the command says what it waits for.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// Run a command for each job of a queue.
///
/// The command runs in `sh -c` with the job's data as JSON on its stdin; what it prints on stdout is the job's output
/// (JSON, or else text). It finds MILLSTREAM_JOB_ID, MILLSTREAM_QUEUE, MILLSTREAM_JOB_NAME, MILLSTREAM_ATTEMPT and
/// MILLSTREAM_ATTEMPTS in its environment.
///
/// Its exit code says how the attempt ended: 0 done, 65 failed for good, 75 again later without burning an attempt (see
/// --snooze), anything else failed: again after the job's backoff. The end of its stderr is kept with the error. It is
/// killed, with all that it started, when its job is cancelled or times out, when its claim is lost, and when it prints
/// more than a job's output may hold (4 MiB).
///
/// Ctrl-C (or SIGTERM, or a closed terminal) takes no more jobs and lets running ones end within --grace; what is left
/// then, or at a second Ctrl-C, goes back to its queue without burning an attempt.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// The queue; may be given several times.
    #[arg(long = "queue", value_name = "QUEUE", required = true)]
    queues: Vec<QueueName>,
    /// Only for jobs of this name; may be given several times. Jobs of other names fail: a worker takes whatever
    /// its queue holds.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<JobName>,
    /// The command.
    #[arg(long, value_name = "COMMAND", value_parser = command)]
    exec: String,
    /// How many jobs of each queue run at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(CONCURRENCY_MAX)))]
    concurrency: Option<u32>,
    /// Stop when no job of the queues is unfinished.
    #[arg(long)]
    drain: bool,
    /// How long running jobs may take to end when the worker stops.
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    grace: Option<Duration>,
    /// How long a job waits whose command exits with 75.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s", allow_hyphen_values = true)]
    snooze: Duration,
}

/// An empty command would complete every job without doing anything: mostly a variable that is not set.
fn command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("expected a command for `sh -c`".to_owned()) } else { Ok(text.to_owned()) }
}

impl Work {
    pub(crate) async fn run(&self, globals: &Globals, output: &Output) -> Result<(), Failure> {
        let session = Session::open(globals, output).await?;
        let mut interrupts = Interrupts::listen()?;
        let options = session.config.worker_options();
        let (grace, clock) = (self.grace.unwrap_or(options.grace), options.clock.clone());
        let workers = match self.workers(&session, options) {
            Ok(workers) => workers,
            Err(failure) => return session.close(Err(failure)).await,
        };
        let done = self.work(&session, &workers, &mut interrupts).await;
        wait_for_running(&workers, grace, &*clock, &mut interrupts, output).await;
        let closing = close(session, &workers, done);
        tokio::select! {
            closed = closing => closed,
            () = leave(&*clock, &mut interrupts, output) => {
                Err(Failure::new("left before the store answered: jobs that were running come back by their leases"))
            }
        }
    }

    /// Ends when the worker is to stop.
    async fn work(
        &self,
        session: &Session,
        workers: &WorkerManager,
        interrupts: &mut Interrupts,
    ) -> Result<(), Failure> {
        workers.start().await?;
        let names: Vec<String> = self.queues.iter().map(|queue| format!("`{queue}`")).collect();
        session.output.talk(format_args!("working {}; Ctrl-C stops", names.join(", ")));
        tokio::select! {
            ended = self.drained(session) => ended,
            () = interrupts.next() => Ok(()),
        }
    }

    fn workers(&self, session: &Session, options: WorkerOptions) -> Result<WorkerManager, Failure> {
        let workers = WorkerManager::new(session.stores.clone(), options);
        let exec = Arc::new(Exec { command: self.exec.clone(), snooze: self.snooze, output: session.output });
        for queue in &self.queues {
            if self.names.is_empty() {
                workers.register_default(queue, exec.clone())?;
            }
            for name in &self.names {
                workers.register_handler(queue, name, exec.clone())?;
            }
        }
        session.config.configure(&workers)?;
        for queue in &self.queues {
            // Whoever types the command wants it to run now, whatever `autorun` says.
            let own = QueueWorkerOptions {
                concurrency: self.concurrency,
                autorun: Some(true),
                ..QueueWorkerOptions::default()
            };
            workers.configure(queue, own)?;
        }
        Ok(workers)
    }

    /// Ends when no job is unfinished; never, unless that was asked for.
    async fn drained(&self, session: &Session) -> Result<(), Failure> {
        if !self.drain {
            return std::future::pending().await;
        }
        let clock = SystemClock::new();
        loop {
            let mut unfinished = 0;
            for queue in &self.queues {
                let counts = session.lasting(async || session.stores.queue.counts(queue).await).await?;
                unfinished += counts.unfinished();
            }
            if unfinished == 0 {
                return Ok(());
            }
            clock.sleep(LOOK_AGAIN).await;
        }
    }
}

/// Takes no more jobs, and waits for running ones: for `grace`, or until it is interrupted again.
async fn wait_for_running(
    workers: &WorkerManager,
    grace: Duration,
    clock: &dyn Clock,
    interrupts: &mut Interrupts,
    output: &Output,
) {
    let lanes = lanes(workers);
    lanes.iter().for_each(Worker::pause);
    if running(&lanes) > 0 {
        output.talk(format_args!("stopping: {} may take {grace:?} to end; Ctrl-C stops now", jobs(running(&lanes))));
    }
    let ended = async {
        while running(&lanes) > 0 {
            clock.sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = clock.sleep(grace) => {}
        () = interrupts.next() => {}
    }
}

/// Gives back what is left, and closes the store; the work's own failure comes first.
async fn close(session: Session, workers: &WorkerManager, done: Result<(), Failure>) -> Result<(), Failure> {
    let left = running(&lanes(workers));
    let closed = workers.close_all_within(Duration::ZERO).await;
    if left > 0 && closed.is_ok() {
        session.output.talk(format_args!("{} went back to the queue", jobs(left)));
    }
    session.close(done.and(closed.map_err(Failure::from))).await
}

/// Ends when whoever interrupts has waited long enough for a store that does not answer.
async fn leave(clock: &dyn Clock, interrupts: &mut Interrupts, output: &Output) {
    clock.sleep(STORE_PATIENCE).await;
    output.talk("still waiting for the store; Ctrl-C leaves at once");
    interrupts.next().await;
}

fn lanes(workers: &WorkerManager) -> Vec<Worker> {
    workers.queues().iter().filter_map(|queue| workers.get_worker(queue)).collect()
}

fn running(lanes: &[Worker]) -> u32 {
    lanes.iter().map(Worker::running).sum()
}

fn jobs(count: u32) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}
