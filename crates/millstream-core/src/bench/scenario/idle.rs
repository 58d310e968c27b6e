//! A worker with nothing to do: what it asks the database, and what memory it takes.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use crate::bench::{Failure, Measure, Site, Sizes, machine};

/// Until the worker has begun, and idle sessions have reported what they did.
const SETTLED_AFTER: Duration = Duration::from_secs(12);

pub(in crate::bench) async fn idle(site: &dyn Site, sizes: &Sizes) -> Result<Measure, Failure> {
    let Some(mut command) = site.idle_worker() else { return Err("the idle scenario needs a worker to start".into()) };
    let mut worker = Worker(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    // Its own sessions of the database would be counted too.
    site.stores().close().await?;
    tokio::time::sleep(SETTLED_AFTER.min(sizes.idle)).await;
    let transactions = async || match site.gauge() {
        Some(gauge) => gauge.transactions().await.map(Some),
        None => Ok(None),
    };
    let before = transactions().await?;
    tokio::time::sleep(sizes.idle).await;
    let after = transactions().await?;
    if let Some(status) = worker.0.try_wait()? {
        return Err(format!("the idle worker ended: {status}").into());
    }
    let seconds = sizes.idle.as_secs_f64();
    let rss_mb = machine::rss_mb(worker.0.id());
    drop(worker);
    // The look before was one.
    let queries = before.zip(after).map(|(before, after)| (after - before - 1).max(0));
    Ok(Measure {
        bench: "idle".to_owned(),
        store: site.stores().queue.kind().to_owned(),
        count: 1,
        seconds,
        rss_mb,
        queries_per_s: queries.map(|queries| queries as f64 / seconds),
        ..Measure::default()
    })
}

/// Ends with the value.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
