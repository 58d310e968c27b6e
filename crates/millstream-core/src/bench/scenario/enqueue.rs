//! Jobs in: one by one from many tasks, and in batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{Clock, JobName, SystemClock};
use tokio::task::JoinSet;

use super::{expect, fill, job, queue, watch::Watch};
use crate::bench::{Failure, Measure, Quantiles, Site, Sizes};

pub(in crate::bench) async fn singles(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let (queue, name) = (queue()?, JobName::new("noop")?);
    // The queue and its connections begin with their first use.
    fill(site, sizes.tasks, sizes.bulk, |number| job(&queue, &name, number, bytes)).await?;
    let watch = Watch::start(site).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks: JoinSet<Result<Vec<Duration>, crate::Error>> = JoinSet::new();
    for _ in 0..sizes.tasks {
        let (next, provider, all) = (next.clone(), site.stores().queue.clone(), sizes.singles);
        let (queue, name) = (queue.clone(), name.clone());
        tasks.spawn(async move {
            let clock = SystemClock::new();
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= all {
                    return Ok(took);
                }
                let before = clock.monotonic();
                provider.enqueue(&[job(&queue, &name, number, bytes)]).await?;
                took.push(clock.monotonic() - before);
            }
        });
    }
    let mut took = Vec::with_capacity(sizes.singles);
    while let Some(ended) = tasks.join_next().await {
        took.extend(ended??);
    }
    let measure = watch.stop(format!("enqueue/{}", sizes.tasks), sizes.singles).await?;
    expect("enqueued", site.stores().queue.counts(&queue).await?.waiting, sizes.singles + sizes.tasks)?;
    Ok(Measure { latency: Quantiles::of(took), ..measure })
}

pub(in crate::bench) async fn bulk(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let (queue, name) = (queue()?, JobName::new("noop")?);
    fill(site, 1, 1, |number| job(&queue, &name, number, bytes)).await?;
    let watch = Watch::start(site).await?;
    fill(site, sizes.backlog, sizes.bulk, |number| job(&queue, &name, number, bytes)).await?;
    let measure = watch.stop("bulk", sizes.backlog).await?;
    expect("enqueued", site.stores().queue.counts(&queue).await?.waiting, sizes.backlog + 1)?;
    Ok(measure)
}
