//! Counts of a big queue.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use millstream_core::{Clock, JobName, QueueWorkerOptions, SystemClock, WorkerManager, WorkerOptions};
use tokio::sync::Notify;

use super::{expect, fill, job, queue, watch::Watch, workers};
use crate::{
    Failure,
    bed::Opened,
    measure::{Measure, Quantiles},
    plan::Sizes,
};

/// Jobs that run at once while the table is filled.
const FILLERS: u32 = 500;

pub(crate) async fn counts(opened: &Opened, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let (queue, name) = (queue()?, JobName::new("noop")?);
    let jobs = sizes.counted;
    fill(opened, jobs, sizes.bulk, |number| job(&queue, &name, number, bytes)).await?;
    let (ran, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let handler = workers::noop({
        let last = last.clone();
        move |_| {
            if ran.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                last.notify_one();
            }
        }
    });
    let manager = WorkerManager::new(opened.stores.clone(), WorkerOptions::default());
    manager.register_handler(&queue, &name, handler)?;
    manager.configure(&queue, QueueWorkerOptions { concurrency: Some(FILLERS), autorun: None })?;
    manager.start().await?;
    last.notified().await;
    manager.close_all().await?;
    fill(opened, jobs, sizes.bulk, |number| job(&queue, &name, number, bytes)).await?;

    let watch = Watch::start(opened).await?;
    let clock = SystemClock::new();
    let mut took = Vec::with_capacity(sizes.samples);
    for _ in 0..sizes.samples {
        let before = clock.monotonic();
        let counts = opened.stores.queue.counts(&queue).await?;
        took.push(clock.monotonic() - before);
        expect("completed", counts.completed, jobs)?;
        expect("waiting", counts.waiting, jobs)?;
    }
    let measure = watch.stop("counts", took.len()).await?;
    Ok(Measure { latency: Quantiles::of(took), ..measure })
}
