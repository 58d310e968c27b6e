//! From the call that appends to a subscriber's hand.

use std::{future::poll_fn, time::Duration};

use crate::{Clock, Pattern, StartFrom, SystemClock};

use super::{append::event, expect, watch::Watch};
use crate::bench::{Failure, Measure, Quantiles, Site, Sizes};

/// How long one event may take before the scenario gives up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(in crate::bench) async fn subscribe(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let events = &site.stores().events;
    let mut stream = events.subscribe(&Pattern::new("nq:flow:*")?, StartFrom::Now).await?;
    let clock = SystemClock::new();
    let watch = Watch::start(site).await?;
    let mut ticks = tokio::time::interval(sizes.every);
    let mut took = Vec::with_capacity(sizes.samples);
    for number in 0..sizes.samples {
        ticks.tick().await;
        let before = clock.monotonic();
        events.append(&[event(number, bytes)?]).await?;
        let received = tokio::time::timeout(PATIENCE, poll_fn(|cx| stream.as_mut().poll_next(cx))).await?;
        received.ok_or("the subscription ended")??;
        took.push(clock.monotonic() - before);
    }
    let measure = watch.stop("subscribe", took.len()).await?;
    expect("events", events.head().await?, sizes.samples)?;
    Ok(Measure { per_s: None, latency: Quantiles::of(took), ..measure })
}
