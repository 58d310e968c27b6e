//! `millstream demo`.

mod bars;
mod payloads;
mod pipeline;
mod summary;

use std::time::Duration;

use clap::Args;
use millstream::{
    Clock, Config, Entropy, NewJob, SystemClock, SystemEntropy, WorkerManager, WorkerOptions,
    limits::{CONCURRENCY_MAX, ENQUEUE_BATCH_MAX},
};
use serde_json::Value;

use crate::{
    cli::{self, Globals},
    failure::Failure,
    lines,
    output::Output,
    session::{Interrupts, Session},
};
use bars::Bars;
use pipeline::Pipeline;
use summary::Tally;

/// How often the command looks at the counts.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Watch jobs go through a small pipeline: webhooks come in, are checked, enriched, and passed on to subscribers.
///
/// Some attempts fail on purpose and run again. Each job's events are written in the transaction that completes it;
/// the summary is counted in the store and in the event log. Without --store, --config or --set, everything is in
/// memory and leaves nothing behind.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Webhooks from a file of JSON lines, one job a line; `-` is stdin. A webhook that names `subscribers` also makes
    /// a job for each of them.
    #[arg(long, value_name = "FILE")]
    input: Option<String>,
    /// How many webhooks to make up.
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "input", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    jobs: u32,
    /// How many jobs of each queue run at once.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONCURRENCY_MAX)))]
    concurrency: u32,
}

impl Demo {
    pub(crate) async fn run(&self, globals: &Globals, output: &Output) -> Result<(), Failure> {
        // Read before anything is opened or enqueued.
        let webhooks = self.webhooks()?;
        let mut sources = globals.sources()?;
        if !globals.names_a_store() {
            sources = cli::stored(sources, "memory");
        }
        let session = Session::of(Config::load(&sources)?, output).await?;
        let done = self.show(&session, webhooks).await;
        session.close(done).await
    }

    fn webhooks(&self) -> Result<Vec<Value>, Failure> {
        let Some(path) = &self.input else { return Ok(payloads::made_up(self.jobs)) };
        let webhooks = lines::payloads(path)?;
        if webhooks.is_empty() {
            return Err(Failure::new(format!("{path}: got no lines, expected one JSON value on each line")));
        }
        Ok(webhooks)
    }

    async fn show(&self, session: &Session, webhooks: Vec<Value>) -> Result<(), Failure> {
        let clock = SystemClock::new();
        let run = SystemEntropy::new().uuid(clock.now()).simple().to_string();
        // The end of a time-ordered id is its random part: enough to tell two runs on one store apart.
        let pipeline = Pipeline::new(&run[run.len() - 8..])?;
        let tally = Tally::begin(session, &pipeline).await?;
        let started = clock.monotonic();
        let jobs: Vec<NewJob> = webhooks
            .into_iter()
            .enumerate()
            .map(|(index, webhook)| pipeline.job(index, webhook))
            .collect::<Result<_, _>>()?;
        for batch in jobs.chunks(ENQUEUE_BATCH_MAX) {
            // Each has its id: one that is there already is not stored again.
            session.lasting(async || session.stores.queue.enqueue(batch).await).await?;
        }
        let workers = self.workers(session, &pipeline)?;
        workers.start().await?;
        let mut interrupts = Interrupts::listen()?;
        let ended = self.follow(&tally, session, &clock, &mut interrupts).await;
        let took = clock.monotonic().saturating_sub(started);
        workers.close_all().await?;
        ended?;
        let summary = tokio::select! {
            summary = tally.summary(session, took) => summary?,
            () = interrupts.next() => return Err(Failure::new("interrupted before the summary")),
        };
        summary.print(&session.output)
    }

    fn workers(&self, session: &Session, pipeline: &Pipeline) -> Result<WorkerManager, Failure> {
        let options = WorkerOptions { concurrency: self.concurrency, autorun: true, ..session.config.worker_options() };
        let workers = WorkerManager::new(session.stores.clone(), options);
        pipeline.register(&workers)?;
        Ok(workers)
    }

    /// Shows progress until every job is settled.
    async fn follow(
        &self,
        tally: &Tally,
        session: &Session,
        clock: &SystemClock,
        interrupts: &mut Interrupts,
    ) -> Result<(), Failure> {
        let mut bars = Bars::new(&session.output);
        loop {
            let counts = tokio::select! {
                counts = tally.counts(session) => counts?,
                () = interrupts.next() => {
                    bars.end();
                    return Err(Failure::new("interrupted while the store did not answer"));
                }
            };
            bars.show(&counts, clock.monotonic());
            if counts.iter().all(|(_, counts)| counts.unfinished() == 0) {
                bars.end();
                return Ok(());
            }
            tokio::select! {
                () = clock.sleep(LOOK_AGAIN) => {}
                () = interrupts.next() => {
                    bars.end();
                    let left: u64 = counts.iter().map(|(_, counts)| counts.unfinished()).sum();
                    return Err(Failure::new(format!("interrupted with {left} jobs unfinished")));
                }
            }
        }
    }
}
