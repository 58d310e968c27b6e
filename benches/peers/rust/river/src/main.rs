//! River's Rust client at the settings of its own benchmark: 2,000 workers, a cooldown of 2 ms. Keeps history.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use driver::{Failure, Peer, Plan, Seen};
use riverqueue::{
    BoxError, Client, Job, JobArgs, QueueConfig, RunHandle, WorkContext, WorkOutcome, Workers,
    migrate::PostgresMigrator,
    sqlx::{self, PgPool, postgres::PgPoolOptions},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const CONNECTIONS: u32 = 10;
const WORKERS: usize = 2_000;

#[derive(Clone, Debug, Deserialize, JobArgs, Serialize)]
#[river(kind = "noop")]
struct Mail {
    id: usize,
    to: String,
    tpl: String,
    pad: String,
}

static SEEN: OnceLock<Seen> = OnceLock::new();

async fn noop(_: WorkContext, _: Job<Mail>) -> Result<WorkOutcome, BoxError> {
    if let Some(seen) = SEEN.get() {
        seen();
    }
    Ok(WorkOutcome::Complete)
}

#[derive(Clone)]
struct River {
    pool: PgPool,
    client: Client,
    /// Dropping it would stop the workers.
    running: Arc<OnceLock<RunHandle>>,
}

impl Peer for River {
    const REMOVES: bool = false;

    async fn one(&self, job: Value) -> Result<(), Failure> {
        self.client.insert(serde_json::from_value::<Mail>(job)?).await?;
        Ok(())
    }

    async fn many(&self, jobs: Vec<Value>) -> Result<(), Failure> {
        let jobs: Vec<Mail> = jobs.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        self.client.insert_many(jobs).await?;
        Ok(())
    }

    async fn work(&self, seen: Seen) -> Result<(), Failure> {
        let _ = SEEN.set(seen);
        let _ = self.running.set(self.client.start()?);
        Ok(())
    }

    async fn unfinished(&self) -> Result<bool, Failure> {
        let sql = "select exists (select from river_job where finalized_at is null)";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let plan = Plan::from_arguments()?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&plan.url).await?;
    PostgresMigrator::new(pool.clone()).migrate_up().await?;
    let mut workers = Workers::new();
    workers.add_fn(noop)?;
    let queue = QueueConfig::new(WORKERS)
        .with_fetch_cooldown(Duration::from_millis(2))
        .with_fetch_poll_interval(Duration::from_millis(20));
    let client = Client::builder(pool.clone()).workers(workers).queue("default", queue).build()?;
    driver::run(plan, River { pool, client, running: Arc::default() }).await
}
