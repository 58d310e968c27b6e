//! A backlog through no-op handlers, one handler call a job.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{JobName, QueueWorkerOptions, Removal, WorkerManager, WorkerOptions};
use tokio::sync::Notify;

use super::{expect, fill, job, queue, watch::Watch, workers};
use crate::bench::{Failure, Measure, Site, Sizes};

pub(in crate::bench) async fn drain(
    site: &dyn Site,
    sizes: &Sizes,
    bytes: usize,
    concurrency: Option<u32>,
    remove: bool,
) -> Result<Measure, Failure> {
    let (queue, name) = (queue()?, JobName::new("noop")?);
    let jobs = sizes.backlog;
    let removal = if remove { Removal::AtOnce } else { Removal::Never };
    let make = |number| job(&queue, &name, number, bytes).remove_on_complete(removal);
    fill(site, jobs, sizes.bulk, make).await?;

    let (ran, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let handler = workers::noop({
        let (ran, last) = (ran.clone(), last.clone());
        move |_| {
            if ran.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                last.notify_one();
            }
        }
    });
    let manager = WorkerManager::new(site.stores().clone(), WorkerOptions::default());
    manager.register_handler(&queue, &name, handler)?;
    manager.configure(&queue, QueueWorkerOptions { concurrency, ..QueueWorkerOptions::default() })?;

    let watch = Watch::start(site).await?;
    manager.start().await?;
    last.notified().await;
    // Ends when every outcome is stored, which no count of the jobs is needed for.
    manager.close_all().await?;
    let bench = if remove { "drain-remove" } else { "drain" };
    let bench = concurrency.map_or(bench.to_owned(), |concurrency| format!("{bench}/{concurrency}"));
    let measure = watch.stop(bench, jobs).await?;
    expect("handler calls", ran.load(Ordering::Relaxed) as u64, jobs)?;
    let completed = if remove { 0 } else { jobs };
    expect("completed", site.stores().queue.counts(&queue).await?.completed, completed)?;
    Ok(measure)
}
