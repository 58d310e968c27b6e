//! Other job queues, each driven by a program of its own from `benches/peers`, on a database of its own on the same
//! server, or on a Redis that lives as long as one scenario.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use millstream_core::bench::{Gauge, Measure, Plan, Quantiles, Scenario, Sizes, machine};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{Failure, bed::Bed, probe::Probe, redis::Redis};

/// How long a driver may take in all, its filling included.
const PATIENCE: Duration = Duration::from_secs(200);

/// Where a peer keeps its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Postgres,
    Redis,
}

/// What a driver is.
#[derive(Clone, Copy, Debug)]
enum Driver {
    /// A file of `benches/peers/node`.
    Node(&'static str),
    /// A program that `benches/peers/rust` builds.
    Rust(&'static str),
}

/// Another job queue.
#[derive(Clone, Copy, Debug)]
struct Peer {
    name: &'static str,
    home: Home,
    driver: Driver,
    /// Whether it drains at its best by removing what is finished.
    removes: bool,
}

const fn peer(name: &'static str, home: Home, driver: Driver, removes: bool) -> Peer {
    Peer { name, home, driver, removes }
}

const PEERS: &[Peer] = &[
    peer("graphile-node", Home::Postgres, Driver::Node("graphile.mjs"), true),
    peer("graphile-rust", Home::Postgres, Driver::Rust("peer-graphile"), true),
    peer("pgboss", Home::Postgres, Driver::Node("pgboss.mjs"), false),
    peer("river", Home::Postgres, Driver::Rust("peer-river"), false),
    peer("bullmq-node", Home::Redis, Driver::Node("bullmq.mjs"), true),
    peer("bullmq-rust", Home::Redis, Driver::Rust("peer-bullmq"), true),
];

/// The peers that are installed, of those asked for.
#[derive(Debug)]
pub struct Peers {
    found: Vec<(Peer, Vec<PathBuf>)>,
    installed: PathBuf,
    appendfsync: String,
}

impl Peers {
    /// Looks for peers by name (`all`: every one) where `benches/peers/install.sh` puts them; says which are missing.
    ///
    /// # Errors
    ///
    /// A name that no peer has.
    pub fn find(names: &[String], appendfsync: &str, mut said: impl FnMut(&str)) -> Result<Self, Failure> {
        let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers");
        let installed =
            env::var_os("MILLSTREAM_PEERS_DIR").map_or_else(|| drivers.join("../../target/peers"), PathBuf::from);
        let all = PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
        let mut found = Vec::new();
        for peer in PEERS {
            if !names.iter().any(|name| name == peer.name || name == "all") {
                continue;
            }
            let program = match peer.driver {
                Driver::Node(file) => {
                    vec![installed.join("node/node_modules/node/bin/node"), drivers.join("node").join(file)]
                }
                Driver::Rust(name) => vec![installed.join("rust/release").join(name)],
            };
            let redis = (peer.home == Home::Redis).then(|| Redis::program(&installed));
            match program.iter().chain(&redis).find(|file| !file.exists()) {
                Some(missing) => said(&format!(
                    "{}: skipped, there is no {} (benches/peers/install.sh)",
                    peer.name,
                    missing.display()
                )),
                None => found.push((*peer, program)),
            }
        }
        match names.iter().find(|name| *name != "all" && !PEERS.iter().any(|peer| peer.name == **name)) {
            Some(unknown) => Err(format!("no peer `{unknown}`; there are {all}, or `all`").into()),
            None => Ok(Self { found, installed, appendfsync: appendfsync.to_owned() }),
        }
    }

    /// Whether a peer has the name.
    pub fn is_one(name: &str) -> bool {
        PEERS.iter().any(|peer| peer.name == name)
    }

    /// Runs every peer that knows a scenario of this kind.
    pub(crate) async fn run(
        &self,
        scenario: Scenario,
        plan: &Plan,
        bed: &Bed,
        bytes: usize,
        mut told: impl FnMut(Measure),
    ) -> Result<(), Failure> {
        for (peer, program) in &self.found {
            let word = match scenario {
                Scenario::Enqueue => "enqueue",
                Scenario::Bulk => "bulk",
                Scenario::Drain if !peer.removes => "drain",
                Scenario::DrainRemove if peer.removes => "drain",
                Scenario::Latency => "latency",
                _ => continue,
            };
            let load = machine::load();
            let arguments = arguments(word, &plan.sizes, bytes);
            let measured = tokio::time::timeout(PATIENCE, self.one(peer, program, arguments, bed)).await;
            let measured = measured.map_err(|_| format!("it took more than {} s", PATIENCE.as_secs()).into());
            let measure = measured.flatten().map_err(|error: Failure| format!("{}, {word}: {error}", peer.name))?;
            told(Measure { bytes, load, store: peer.name.to_owned(), ..measure });
        }
        Ok(())
    }

    async fn one(
        &self,
        peer: &Peer,
        program: &[PathBuf],
        arguments: Vec<String>,
        bed: &Bed,
    ) -> Result<Measure, Failure> {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(arguments).arg("--packages").arg(self.installed.join("node"));
        match peer.home {
            Home::Postgres => {
                let url = bed.url().ok_or("this peer needs Postgres")?;
                let database = Scratch::create(url).await?;
                let measured = drive(command.arg("--url").arg(&database.url), On::Postgres(&database.probe)).await;
                database.drop(url).await?;
                measured
            }
            Home::Redis => {
                let redis = Redis::start(&self.installed, &self.appendfsync).await?;
                drive(command.arg("--url").arg(redis.url()), On::Redis(&redis)).await
            }
        }
    }
}

fn arguments(scenario: &str, sizes: &Sizes, bytes: usize) -> Vec<String> {
    let numbers = [
        ("--bytes", bytes),
        ("--jobs", sizes.backlog),
        ("--bulk", sizes.bulk),
        ("--tasks", sizes.tasks),
        ("--singles", sizes.singles),
        ("--samples", sizes.samples),
        ("--every-ms", usize::try_from(sizes.every.as_millis()).unwrap_or(usize::MAX)),
    ];
    let options = numbers.into_iter().flat_map(|(name, number)| [name.to_owned(), number.to_string()]);
    std::iter::once(scenario.to_owned()).chain(options).collect()
}

/// A database for one scenario of one peer.
struct Scratch {
    name: String,
    url: String,
    probe: Probe,
}

impl Scratch {
    async fn create(url: &str) -> Result<Self, Failure> {
        let name = format!("bench_peer_{}", std::process::id());
        let admin = Probe::connect(url).await?;
        admin.run(&format!("drop database if exists {name} with (force)")).await?;
        admin.run(&format!("create database {name}")).await?;
        let url = with_database(url, &name).ok_or("the URL of the database names none")?;
        let probe = Probe::connect(&url).await?;
        Ok(Self { name, url, probe })
    }

    async fn drop(self, url: &str) -> Result<(), Failure> {
        drop(self.probe);
        let admin = Probe::connect(url).await?;
        admin.run(&format!("drop database if exists {} with (force)", self.name)).await
    }
}

/// `scheme://user@host/other?options` with another database.
fn with_database(url: &str, name: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (place, options) = rest.split_once('?').map_or((rest, None), |(place, options)| (place, Some(options)));
    let (host, _) = place.split_once('/')?;
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    Some(format!("{scheme}://{host}/{name}{options}"))
}

/// What the peer's jobs lie on.
enum On<'a> {
    Postgres(&'a Probe),
    Redis(&'a Redis),
}

impl On<'_> {
    async fn settle(&self) -> Result<(), Failure> {
        match self {
            Self::Postgres(probe) => probe.settle().await,
            Self::Redis(_) => Ok(()),
        }
    }

    /// CPU seconds, and bytes of WAL.
    async fn used(&self) -> Result<(Option<f64>, Option<f64>), Failure> {
        match self {
            Self::Postgres(probe) => probe.used().await.map(|used| (used.cpu_s, Some(used.wal_bytes))),
            Self::Redis(redis) => Ok((redis.pid().map(machine::tree_cpu), None)),
        }
    }
}

/// Lets a driver prepare, then has it run on a quiet server.
async fn drive(command: &mut Command, on: On<'_>) -> Result<Measure, Failure> {
    let folder = tempfile::tempdir()?;
    let mut child =
        command.current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("a driver without stdout")?).lines();
    let ready = line(&mut child, &mut lines).await?;
    if ready["ready"] != true {
        return Err(format!("it said {ready}, expected that it is ready").into());
    }
    on.settle().await?;
    let pid = child.id().ok_or("a driver that has ended")?;
    let (cpu, wal) = on.used().await?;
    let own_cpu = machine::tree_cpu(pid);
    let stdin = child.stdin.as_mut().ok_or("a driver without stdin")?;
    stdin.write_all(b"go\n").await?;
    stdin.flush().await?;
    // It lives until its whole line is taken, and its last CPU is seen just before.
    let (mut rss_mb, mut own_last) = (0.0, own_cpu);
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let done = {
        let next = line(&mut child, &mut lines);
        tokio::pin!(next);
        loop {
            tokio::select! {
                done = &mut next => break done?,
                _ = looks.tick() => {
                    rss_mb = machine::rss_mb(pid).max(rss_mb);
                    own_last = machine::tree_cpu(pid).max(own_last);
                }
            }
        }
    };
    let (cpu_after, wal_after) = on.used().await?;
    own_last = machine::tree_cpu(pid).max(own_last);
    let number = |name: &str| done[name].as_f64().ok_or_else(|| format!("its line has no {name}"));
    let (count, seconds) = (number("count")?, number("seconds")?);
    let took = done["took_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64);
    let per_1k = |number: f64| number * 1e3 / count.max(1.0);
    let bench = done["bench"].as_str().ok_or("its line has no bench")?.to_owned();
    let rate = (bench != "latency").then(|| count / seconds);
    Ok(Measure {
        bench,
        count: count as usize,
        seconds,
        per_s: rate,
        latency: Quantiles::of(took.map(|ms| Duration::from_secs_f64(ms / 1e3)).collect()),
        db_cpu_s_per_1k: cpu.zip(cpu_after).map(|(before, after)| per_1k(after - before)),
        wal_bytes_per_1k: wal.zip(wal_after).map(|(before, after)| per_1k(after - before)),
        own_cpu_s_per_1k: per_1k(own_last - own_cpu),
        rss_mb,
        ..Measure::default()
    })
}

/// The next line that a driver prints.
async fn line(child: &mut Child, lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Value, Failure> {
    match lines.next_line().await? {
        Some(line) => Ok(serde_json::from_str(&line).map_err(|_| format!("it printed {line:?}, expected JSON"))?),
        None => Err(format!("the driver ended: {}", child.wait().await?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_another_database() {
        let found = with_database("postgres://u:p@h:1/a?sslmode=disable", "b");
        assert_eq!(found.as_deref(), Some("postgres://u:p@h:1/b?sslmode=disable"));
        assert_eq!(with_database("postgres://u@h", "b"), None);
    }

    #[test]
    fn an_unknown_peer_is_told_with_the_known_ones() {
        let error = Peers::find(&["kafka".to_owned()], "everysec", |_| {}).unwrap_err().to_string();
        assert!(error.contains("kafka") && error.contains("graphile-node"), "{error}");
    }
}
