//! `millstream bench`.

use std::{ffi::OsString, process::Command, time::Duration};

use clap::Args;
use millstream::{
    Config, ConfigBed,
    bench::{self, Measure, Plan, Scenario, Sizes},
};

use crate::{
    args::duration,
    cli::Globals,
    failure::Failure,
    output::Output,
    session::{Interrupts, Session},
};

/// With larger ones, a bulk of 5,000 jobs would not fit into the memory of a small machine.
const BYTES_MAX: i64 = 100_000;

/// Measure how fast stores and workers are here: jobs in, backlogs drained, latencies, events.
///
/// Each scenario runs on empty stores of its own, beside the configured ones: the same database in a schema of its own,
/// or a file of its own in the same folder. They are removed afterwards; the configured stores are not touched. With
/// --json, one line a measure as it comes; without, a table of medians at the end. What a figure means, and what it
/// stands beside: docs/benchmarks.md.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Only these: enqueue, bulk, drain, drain-remove, latency, latency-loaded, append, subscribe, counts, idle.
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',', value_parser = scenario)]
    scenarios: Vec<Scenario>,
    /// Payload sizes.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [100], value_parser = clap::value_parser!(u32).range(1..=BYTES_MAX))]
    bytes: Vec<u32>,
    /// How often everything is run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Jobs of the backlog that is drained, and that bulk enqueues store.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    backlog: Option<u32>,
    /// Jobs that are enqueued one by one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    singles: Option<u32>,
    /// How long appends go on.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    lasting: Option<Duration>,
    /// Jobs that run at once in drains; several are several measures. Without it, the workers' default.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=i64::from(millstream::limits::CONCURRENCY_MAX)))]
    concurrency: Vec<u32>,
    /// Tiny sizes: that it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Work an empty queue of a scratch until killed: what the idle scenario looks at.
    #[arg(long, hide = true, value_name = "NAME")]
    idle_worker: Option<String>,
}

impl Bench {
    pub(crate) async fn run(&self, globals: &Globals, output: &Output) -> Result<(), Failure> {
        let config = Config::load(&globals.sources()?)?;
        if let Some(name) = &self.idle_worker {
            let session = Session::of(ConfigBed::aside(&config, name), output).await?;
            return bench::idle_worker(session.stores).await.map_err(told);
        }
        output.talk(format!("{}; queue: {}", bench::machine::described(), config.queue));
        let program =
            std::env::current_exe().map_err(|error| Failure::new(format!("failed to find myself: {error}")))?;
        let bed = ConfigBed::new(config).idle_worker(move |name| {
            let mut command = Command::new(&program);
            let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
            command.args(typed).args(["--idle-worker", name]);
            command
        });
        let mut interrupts = Interrupts::listen()?;
        let done = tokio::select! {
            done = self.measure(&bed, output) => done,
            () = interrupts.next() => Err(Failure::new("interrupted")),
        };
        let cleared = bed.clear().await;
        let all = done?;
        cleared?;
        if output.json { Ok(()) } else { output.data(bench::table(&all).trim_end()) }
    }

    async fn measure(&self, bed: &ConfigBed, output: &Output) -> Result<Vec<Measure>, Failure> {
        let plan = self.plan();
        let mut all = Vec::new();
        for run in 1..=plan.runs {
            for &bytes in &plan.bytes {
                for &scenario in &plan.scenarios {
                    output.talk(format!("{scenario}, {bytes} B, run {run} of {}", plan.runs));
                    for measure in bench::run(scenario, &plan, bed, bytes).await.map_err(told)? {
                        let measure = Measure { run, ..measure };
                        if output.json {
                            output.json(&measure)?;
                        }
                        all.push(measure);
                    }
                }
            }
        }
        Ok(all)
    }

    fn plan(&self) -> Plan {
        let base = if self.quick { Sizes::quick() } else { Sizes::default() };
        let sizes = Sizes {
            backlog: self.backlog.map_or(base.backlog, |jobs| jobs as usize),
            singles: self.singles.map_or(base.singles, |jobs| jobs as usize),
            lasting: self.lasting.unwrap_or(base.lasting),
            ..base
        };
        Plan {
            scenarios: if self.scenarios.is_empty() { Scenario::ALL.to_vec() } else { self.scenarios.clone() },
            bytes: self.bytes.iter().map(|bytes| *bytes as usize).collect(),
            runs: self.runs,
            sizes,
            concurrency: self.concurrency.clone(),
        }
    }
}

fn told(failure: bench::Failure) -> Failure {
    match failure.downcast::<millstream::Error>() {
        Ok(error) => (*error).into(),
        Err(other) => Failure::new(other.to_string()),
    }
}

fn scenario(text: &str) -> Result<Scenario, String> {
    text.parse().map_err(|failure: bench::Failure| failure.to_string())
}
