//! graphile_worker at the settings of its own benchmark: a local queue, completions in batches. Deletes finished jobs.

use std::{fmt, sync::Arc, time::Duration};

use driver::{Failure, Peer, Plan, Seen};
use graphile_worker::{
    Database, IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils, tokio_postgres::TokioPostgresDatabase,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const CONNECTIONS: usize = 10;

#[derive(Deserialize, Serialize)]
struct Mail {
    id: usize,
    to: String,
    tpl: String,
    pad: String,
}

#[derive(Clone)]
struct Teller(Seen);

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

impl TaskHandler for Mail {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(teller) = ctx.get_ext::<Teller>() {
            (teller.0)();
        }
        Ok::<(), String>(())
    }
}

#[derive(Clone)]
struct Graphile {
    plan: Arc<Plan>,
    utils: Arc<WorkerUtils>,
    database: Database,
    look: Arc<tokio_postgres::Client>,
}

fn raw(payload: Value) -> RawJobSpec {
    RawJobSpec { identifier: "noop".to_owned(), payload, spec: JobSpec::default() }
}

impl Peer for Graphile {
    const REMOVES: bool = true;

    async fn one(&self, job: Value) -> Result<(), Failure> {
        self.utils.add_raw_job("noop", job, JobSpec::default()).await?;
        Ok(())
    }

    async fn many(&self, jobs: Vec<Value>) -> Result<(), Failure> {
        let jobs: Vec<RawJobSpec> = jobs.into_iter().map(raw).collect();
        self.utils.add_raw_jobs(&jobs).await?;
        Ok(())
    }

    async fn work(&self, seen: Seen) -> Result<(), Failure> {
        let poll = if self.plan.is_latency() { Duration::from_secs(2) } else { Duration::from_millis(5) };
        let options = WorkerOptions::default()
            .database(self.database.clone())
            .concurrency(500)
            .poll_interval(poll)
            .complete_job_batch_delay(Duration::from_millis(5))
            .local_queue(LocalQueueConfig::default().with_size(5000))
            .listen_os_shutdown_signals(false)
            .add_extension(Teller(seen))
            .define_job::<Mail>();
        let worker = options.init().await?;
        tokio::spawn(async move {
            if let Err(error) = worker.run().await {
                eprintln!("the worker ended: {error}");
                std::process::exit(1);
            }
        });
        Ok(())
    }

    async fn unfinished(&self) -> Result<bool, Failure> {
        let sql = "select exists (select from graphile_worker._private_jobs)";
        Ok(self.look.query_one(sql, &[]).await?.get(0))
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let plan = Plan::from_arguments()?;
    let database: Database = TokioPostgresDatabase::from_url(&plan.url, CONNECTIONS)?.into();
    let utils = WorkerUtils::new(database.clone(), "graphile_worker");
    utils.migrate().await?;
    let (look, wire) = tokio_postgres::connect(&plan.url, tokio_postgres::NoTls).await?;
    tokio::spawn(wire);
    let peer = Graphile { plan: Arc::new(plan.clone()), utils: Arc::new(utils), database, look: Arc::new(look) };
    driver::run(plan, peer).await
}
