//! A worker with nothing to do: what it asks the database, and what memory it takes.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::{
    Failure,
    bed::{Opened, Place},
    machine,
    measure::Measure,
    plan::Sizes,
};

/// Until the worker has begun, and idle sessions have reported what they did.
const SETTLED_AFTER: Duration = Duration::from_secs(12);

pub(crate) async fn idle(opened: &Opened, sizes: &Sizes, program: Option<&Path>) -> Result<Measure, Failure> {
    let Some(program) = program else { return Err("the idle scenario needs a program to start".into()) };
    let mut command = Command::new(program);
    match &opened.place {
        Place::Postgres { url, schema } => command.args(["--idle-worker", schema, "--url", url]),
        Place::Sqlite(path) => command.arg("--idle-worker").arg(path).arg("--sqlite"),
    };
    let mut worker = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
    // Its own sessions of the database would be counted too.
    opened.stores.close().await?;
    tokio::time::sleep(SETTLED_AFTER.min(sizes.idle)).await;
    let transactions = async || match &opened.probe {
        Some(probe) => probe.transactions().await.map(Some),
        None => Ok(None),
    };
    let before = transactions().await?;
    tokio::time::sleep(sizes.idle).await;
    let after = transactions().await?;
    if let Some(status) = worker.try_wait()? {
        return Err(format!("the idle worker ended: {status}").into());
    }
    let seconds = sizes.idle.as_secs_f64();
    let rss_mb = worker.id().map_or(0.0, machine::rss_mb);
    worker.kill().await?;
    // The look before was one.
    let queries = before.zip(after).map(|(before, after)| (after - before - 1).max(0));
    Ok(Measure {
        bench: "idle".to_owned(),
        store: opened.stores.queue.kind(),
        count: 1,
        seconds,
        rss_mb,
        queries_per_s: queries.map(|queries| queries as f64 / seconds),
        ..Measure::default()
    })
}
