//! Events in: one event a call.

use std::{sync::Arc, time::Duration};

use crate::{Append, Clock, NewEvent, StreamName, SystemClock};
use tokio::task::JoinSet;

use super::{expect, payload, watch::Watch};
use crate::bench::{Failure, Measure, Quantiles, Site, Sizes};

/// As many streams as the raw script has.
const STREAMS: usize = 1_000;

pub(in crate::bench) fn event(number: usize, bytes: usize) -> Result<Append, crate::Error> {
    let stream = StreamName::new(format!("nq:flow:{}", number % STREAMS))?;
    let event = NewEvent::new("step.completed", payload(number, bytes));
    Ok(Append::one(stream, event.run("0b8f6d3e-8d0a-4c5e-9d53-0c1f6a6a7b10", "bench")))
}

pub(in crate::bench) async fn append(
    site: &dyn Site,
    sizes: &Sizes,
    bytes: usize,
    callers: usize,
) -> Result<Measure, Failure> {
    site.stores().events.append(&[event(0, bytes)?]).await?;
    let watch = Watch::start(site).await?;
    let clock = Arc::new(SystemClock::new());
    let until = sizes.lasting;
    let mut tasks: JoinSet<Result<Vec<Duration>, crate::Error>> = JoinSet::new();
    for caller in 0..callers {
        let (events, clock) = (site.stores().events.clone(), clock.clone());
        tasks.spawn(async move {
            let (mut took, mut number) = (Vec::new(), caller);
            loop {
                let before = clock.monotonic();
                if before >= until {
                    return Ok(took);
                }
                events.append(&[event(number, bytes)?]).await?;
                took.push(clock.monotonic() - before);
                number += callers;
            }
        });
    }
    let mut took = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        took.extend(ended??);
    }
    let measure = watch.stop(format!("append/{callers}"), took.len()).await?;
    // Numbers come after the commit: the log catches up.
    while site.stores().events.head().await? <= took.len() as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    expect("events", site.stores().events.head().await?, took.len() + 1)?;
    Ok(Measure { latency: Quantiles::of(took), ..measure })
}
