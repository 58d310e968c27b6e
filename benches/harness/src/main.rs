//! The benchmark program. stdout is JSON lines, stderr is talk and the table.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use millstream_bench::{Bed, Failure, Peers, Place, analytics, run, versus};
use millstream_core::bench::{Measure, Plan, Scenario, Sizes, idle_worker, table};
use millstream_servers::Version;

/// Measures the engine, as ratios to the raw limits of this machine
#[derive(Parser)]
struct Arguments {
    /// A scratch database; without it, a private server is started
    #[arg(long, env = "MILLSTREAM_BENCH_URL", hide_env_values = true)]
    url: Option<String>,
    /// Measure SQLite instead
    #[arg(long)]
    sqlite: bool,
    /// Measure the store on pg-boss's tables instead
    #[arg(long, conflicts_with = "sqlite")]
    pgboss: bool,
    /// Major version of the private server
    #[arg(long, default_value_t = 15)]
    postgres: u32,
    /// Only these scenarios
    #[arg(long = "scenario", value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Payload sizes
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000])]
    bytes: Vec<usize>,
    /// How often everything is run; the table has the medians
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Jobs of the backlog
    #[arg(long)]
    backlog: Option<usize>,
    /// Jobs that are enqueued one by one
    #[arg(long)]
    singles: Option<usize>,
    /// Jobs that are waiting, and as many that are finished, when counts are asked for
    #[arg(long)]
    counted: Option<usize>,
    /// Seconds that appends go on
    #[arg(long)]
    seconds: Option<u64>,
    /// Jobs that a queue runs at once in drains; several are several benches
    #[arg(long, value_delimiter = ',')]
    concurrency: Vec<u32>,
    /// The folder of the raw scripts, instead of benches/raw
    #[arg(long)]
    raw_dir: Option<PathBuf>,
    /// Run no raw scripts
    #[arg(long, conflicts_with = "raw_dir")]
    no_raw: bool,
    /// Measure nothing: print the tables of JSON lines that were printed before
    #[arg(long, value_name = "FILE", num_args = 1..)]
    table: Vec<PathBuf>,
    /// Peers to run beside: `all`, or some of graphile-node, graphile-rust, pgboss, river, bullmq-node, bullmq-rust;
    /// benches/peers/install.sh installs them, and those that are missing are skipped
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// When the peers' Redis writes to disk
    #[arg(long, default_value = "everysec", value_parser = ["off", "everysec", "always"])]
    appendfsync: String,
    /// Ask the questions of docs/analytics.md over a log of this many events; Postgres only
    #[arg(long)]
    analysed: Option<usize>,
    /// A file with a JSON text a line: what those events carry, cut
    #[arg(long)]
    payloads: Option<PathBuf>,
    /// Tiny sizes: that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Works an empty queue until killed: what the idle scenario looks at
    #[arg(long, hide = true, value_name = "SCHEMA OR FILE")]
    idle_worker: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(work(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    eprintln!("failed: {failure}");
    ExitCode::FAILURE
}

async fn work(arguments: Arguments) -> Result<(), Failure> {
    if !arguments.table.is_empty() {
        let all = lines(&arguments.table)?;
        print!("{}{}", table(&all), versus(&all, Peers::is_one));
        return Ok(());
    }
    if let Some(place) = place(&arguments)? {
        return idle_worker(place.open().await?).await;
    }
    let bed = bed(&arguments)?.program(std::env::current_exe()?);
    let talk = |said: &str| eprintln!("{said}");
    talk(&bed.machine().await?);
    let peers = match arguments.peers.is_empty() {
        true => None,
        false => Some(Peers::find(&arguments.peers, &arguments.appendfsync, talk)?),
    };
    let plan = plan(&arguments);
    let print = |measure: &Measure| match serde_json::to_string(measure) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("a measure cannot be printed: {error}"),
    };
    let raw_dir = arguments.raw_dir.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../raw"));
    let raw_dir = (!arguments.no_raw && !arguments.quick).then_some(&*raw_dir);
    let mut all = run(&plan, &bed, raw_dir, peers.as_ref(), print, talk).await?;
    if let Some(events) = arguments.analysed {
        let asked = analytics(&bed, arguments.payloads.as_deref(), events).await?;
        asked.iter().for_each(print);
        all.extend(asked);
    }
    eprint!("\n{}", table(&all));
    eprint!("{}", versus(&all, Peers::is_one));
    Ok(())
}

fn lines(files: &[PathBuf]) -> Result<Vec<Measure>, Failure> {
    let (mut all, mut runs): (Vec<Measure>, u32) = (Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for (number, line) in (1..).zip(text.lines()) {
            let told = |error| format!("{}, line {number}: {error}, expected a measure", file.display());
            let measure: Measure = serde_json::from_str(line).map_err(told)?;
            // What ran together stays together.
            all.push(Measure { run: runs + measure.run, ..measure });
        }
        runs = all.iter().map(|measure| measure.run).max().unwrap_or(runs);
    }
    Ok(all)
}

fn place(arguments: &Arguments) -> Result<Option<Place>, Failure> {
    let Some(name) = &arguments.idle_worker else { return Ok(None) };
    if arguments.sqlite {
        return Ok(Some(Place::Sqlite(name.clone())));
    }
    let url = arguments.url.clone().ok_or("an idle worker needs --url or --sqlite")?;
    let schema = name.to_str().ok_or("the schema's name is not text")?.to_owned();
    Ok(Some(Place::Postgres { url, schema, boss: arguments.pgboss }))
}

fn bed(arguments: &Arguments) -> Result<Bed, Failure> {
    if arguments.sqlite {
        return Bed::sqlite();
    }
    let bed = match &arguments.url {
        Some(url) => Bed::postgres(url),
        None => {
            let known = Version::ALL.into_iter().find(|version| version.major() == arguments.postgres);
            let version = known.ok_or_else(|| format!("no PostgreSQL {}; known are 13 to 18", arguments.postgres))?;
            Bed::private(version, arguments.quick)?
        }
    };
    Ok(if arguments.pgboss { bed.pgboss() } else { bed })
}

fn plan(arguments: &Arguments) -> Plan {
    let base = if arguments.quick { Sizes::quick() } else { Sizes::default() };
    let sizes = Sizes {
        backlog: arguments.backlog.unwrap_or(base.backlog),
        singles: arguments.singles.unwrap_or(base.singles),
        counted: arguments.counted.unwrap_or(base.counted),
        lasting: arguments.seconds.map_or(base.lasting, Duration::from_secs),
        ..base
    };
    let scenarios = if arguments.scenarios.is_empty() { Scenario::ALL.to_vec() } else { arguments.scenarios.clone() };
    Plan {
        scenarios,
        bytes: arguments.bytes.clone(),
        runs: arguments.runs,
        sizes,
        concurrency: arguments.concurrency.clone(),
    }
}
