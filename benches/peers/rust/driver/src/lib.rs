//! What the drivers of all Rust peers have in common: arguments in, scenarios, one JSON line out.
//!
//! A driver prints `{"ready":true}` once everything is prepared and waits for a line on stdin: the harness cleans up
//! the database, notes its CPU and WAL, and says go. What follows is on the clock.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

/// What went wrong, for a person.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Told by each handler call.
pub type Seen = Arc<dyn Fn() + Send + Sync>;

/// How large the scenarios are.
#[derive(Clone, Debug)]
pub struct Plan {
    pub scenario: String,
    pub url: String,
    pub bytes: usize,
    pub jobs: usize,
    pub bulk: usize,
    pub tasks: usize,
    pub singles: usize,
    pub samples: usize,
    pub every: Duration,
}

impl Plan {
    /// Reads the command line: the scenario, then `--name value`.
    pub fn from_arguments() -> Result<Self, Failure> {
        let mut arguments = std::env::args().skip(1);
        let mut plan = Self {
            scenario: arguments.next().ok_or("expected a scenario: enqueue, bulk, drain or latency")?,
            url: String::new(),
            bytes: 100,
            jobs: 1000,
            bulk: 5000,
            tasks: 50,
            singles: 1000,
            samples: 20,
            every: Duration::from_millis(50),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name}: expected a value"))?;
            let number = || value.parse::<usize>().map_err(|_| format!("{name}: got {value}, expected a number"));
            match name.as_str() {
                "--url" => plan.url = value,
                "--bytes" => plan.bytes = number()?,
                "--jobs" => plan.jobs = number()?,
                "--bulk" => plan.bulk = number()?,
                "--tasks" => plan.tasks = number()?,
                "--singles" => plan.singles = number()?,
                "--samples" => plan.samples = number()?,
                "--every-ms" => plan.every = Duration::from_millis(number()? as u64),
                "--packages" => {}
                _ => return Err(format!("no option {name}").into()),
            }
        }
        Ok(plan)
    }

    /// A welcome mail, padded to the size.
    pub fn payload(&self, number: usize) -> Value {
        let mail = |pad: String| json!({ "id": number, "to": "user@example.com", "tpl": "welcome", "pad": pad });
        let bare = mail(String::new()).to_string().len();
        mail("x".repeat(self.bytes.saturating_sub(bare)))
    }

    pub fn is_latency(&self) -> bool {
        self.scenario == "latency"
    }
}

/// A queue that is driven.
pub trait Peer: Clone + Send + Sync + 'static {
    /// Whether finished jobs are gone.
    const REMOVES: bool;

    /// Enqueues one job; it is stored on return.
    fn one(&self, job: Value) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Enqueues a batch.
    fn many(&self, jobs: Vec<Value>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Starts workers whose handler does nothing but tell.
    fn work(&self, seen: Seen) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether the store has a job that is not finished.
    fn unfinished(&self) -> impl Future<Output = Result<bool, Failure>> + Send;
}

/// Runs the plan's scenario, prints its line, and ends the process: nobody waits for a graceful stop.
pub async fn run<P: Peer>(plan: Plan, peer: P) -> Result<(), Failure> {
    match plan.scenario.as_str() {
        "enqueue" => enqueue(&plan, &peer).await?,
        "bulk" => bulk(&plan, &peer).await?,
        "drain" => drain(&plan, &peer).await?,
        "latency" => latency(&plan, &peer).await?,
        other => return Err(format!("no scenario {other}; there are enqueue, bulk, drain, latency").into()),
    }
    std::process::exit(0);
}

fn ready() -> Result<Instant, Failure> {
    println!("{{\"ready\":true}}");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(Instant::now())
}

fn done(bench: &str, count: usize, began: Instant, took: &[Duration]) {
    let seconds = began.elapsed().as_secs_f64();
    let took: Vec<f64> = took.iter().map(|one| one.as_micros() as f64 / 1e3).collect();
    println!("{}", json!({ "bench": bench, "count": count, "seconds": seconds, "took_ms": took }));
}

async fn fill(plan: &Plan, peer: &impl Peer, numbers: Range<usize>) -> Result<(), Failure> {
    for from in numbers.clone().step_by(plan.bulk) {
        let jobs = (from..numbers.end.min(from + plan.bulk)).map(|number| plan.payload(number)).collect();
        peer.many(jobs).await?;
    }
    Ok(())
}

/// `count` jobs from all tasks, one a call.
async fn singles<P: Peer>(plan: &Plan, peer: &P, count: usize) -> Result<Vec<Duration>, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks: JoinSet<Result<Vec<Duration>, Failure>> = JoinSet::new();
    for _ in 0..plan.tasks {
        let (plan, peer, next) = (plan.clone(), peer.clone(), next.clone());
        tasks.spawn(async move {
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(took);
                }
                let job = plan.payload(number);
                let before = Instant::now();
                peer.one(job).await?;
                took.push(before.elapsed());
            }
        });
    }
    let mut took = Vec::with_capacity(count);
    while let Some(ended) = tasks.join_next().await {
        took.extend(ended??);
    }
    Ok(took)
}

async fn enqueue<P: Peer>(plan: &Plan, peer: &P) -> Result<(), Failure> {
    // Connections and plans begin with their first use.
    singles(plan, peer, plan.tasks * 2).await?;
    let began = ready()?;
    let took = singles(plan, peer, plan.singles).await?;
    done(&format!("enqueue/{}", plan.tasks), plan.singles, began, &took);
    Ok(())
}

async fn bulk<P: Peer>(plan: &Plan, peer: &P) -> Result<(), Failure> {
    fill(plan, peer, 0..1).await?;
    let began = ready()?;
    fill(plan, peer, 0..plan.jobs).await?;
    done("bulk", plan.jobs, began, &[]);
    Ok(())
}

async fn drain<P: Peer>(plan: &Plan, peer: &P) -> Result<(), Failure> {
    fill(plan, peer, 0..plan.jobs).await?;
    let ran = Arc::new(AtomicUsize::new(0));
    let (tell, mut last) = mpsc::unbounded_channel();
    let seen = {
        let (ran, all) = (ran.clone(), plan.jobs);
        Arc::new(move || {
            if ran.fetch_add(1, Ordering::Relaxed) + 1 == all {
                let _ = tell.send(());
            }
        })
    };
    // A first look makes its connection.
    peer.unfinished().await?;
    let began = ready()?;
    peer.work(seen).await?;
    last.recv().await.ok_or("the workers are gone")?;
    while peer.unfinished().await? {
        sleep(Duration::from_millis(2)).await;
    }
    let ran = ran.load(Ordering::Relaxed);
    if ran != plan.jobs {
        return Err(format!("handler calls: {ran}, expected {}", plan.jobs).into());
    }
    done(if P::REMOVES { "drain-remove" } else { "drain" }, plan.jobs, began, &[]);
    Ok(())
}

async fn latency<P: Peer>(plan: &Plan, peer: &P) -> Result<(), Failure> {
    let (tell, mut started) = mpsc::unbounded_channel();
    let seen = Arc::new(move || {
        let _ = tell.send(Instant::now());
    });
    peer.work(seen).await?;
    let mut took = Vec::with_capacity(plan.samples);
    let mut began = Instant::now();
    const WARM: usize = 20;
    let mut ticks = interval(plan.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..WARM + plan.samples {
        if number == WARM {
            began = ready()?;
        }
        ticks.tick().await;
        let before = Instant::now();
        peer.one(plan.payload(number)).await?;
        let at = started.recv().await.ok_or("the workers are gone")?;
        if number >= WARM {
            took.push(at.saturating_duration_since(before));
        }
    }
    done("latency", plan.samples, began, &took);
    Ok(())
}
