//! Counts of a big queue.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{Clock, JobName, QueueWorkerOptions, SystemClock, WorkerManager, WorkerOptions};
use tokio::sync::Notify;

use super::{expect, fill, job, queue, watch::Watch, workers};
use crate::bench::{Failure, Measure, Quantiles, Site, Sizes};

/// Jobs that run at once while the table is filled.
const FILLERS: u32 = 500;

pub(in crate::bench) async fn counts(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let (queue, name) = (queue()?, JobName::new("noop")?);
    let jobs = sizes.counted;
    fill(site, jobs, sizes.bulk, |number| job(&queue, &name, number, bytes)).await?;
    let (ran, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let handler = workers::noop({
        let last = last.clone();
        move |_| {
            if ran.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                last.notify_one();
            }
        }
    });
    let manager = WorkerManager::new(site.stores().clone(), WorkerOptions::default());
    manager.register_handler(&queue, &name, handler)?;
    manager.configure(&queue, QueueWorkerOptions { concurrency: Some(FILLERS), ..QueueWorkerOptions::default() })?;
    manager.start().await?;
    last.notified().await;
    manager.close_all().await?;
    fill(site, jobs, sizes.bulk, |number| job(&queue, &name, number, bytes)).await?;

    let watch = Watch::start(site).await?;
    let clock = SystemClock::new();
    let mut took = Vec::with_capacity(sizes.samples);
    for _ in 0..sizes.samples {
        let before = clock.monotonic();
        let counts = site.stores().queue.counts(&queue).await?;
        took.push(clock.monotonic() - before);
        expect("completed", counts.completed, jobs)?;
        expect("waiting", counts.waiting, jobs)?;
    }
    let measure = watch.stop("counts", took.len()).await?;
    Ok(Measure { latency: Quantiles::of(took), ..measure })
}
