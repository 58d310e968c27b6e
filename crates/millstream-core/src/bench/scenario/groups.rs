//! A group of consumers: a backlog through it, and from the call that appends to a handler with nothing else to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    Clock, ConsumerName, Effects, GroupConsumer, GroupName, GroupOptions, GroupSpec, Groups, PARTITIONS_DEFAULT,
    Pattern, StartFrom, SystemClock,
};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{append::event, expect, watch::Watch};
use crate::bench::{Failure, Measure, Quantiles, Site, Sizes};

/// Consumers of the group.
const CONSUMERS: usize = 4;
/// Events of one handler call.
const BATCH: u32 = 100;
/// Events of one append of the backlog.
const FILL: usize = 1_000;
/// How long anything may take before the scenario gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at how far the group is.
const LOOK: Duration = Duration::from_millis(5);

fn name() -> Result<GroupName, Failure> {
    Ok(GroupName::new("bench")?)
}

/// Joins so many consumers, each telling how many events it was handed.
async fn join(
    site: &dyn Site,
    start: StartFrom,
    told: mpsc::UnboundedSender<usize>,
) -> Result<Vec<GroupConsumer>, Failure> {
    let options = GroupOptions { batch: BATCH, ..GroupOptions::default() };
    let groups = Groups::new(site.stores().clone(), options)?;
    let spec = GroupSpec { start, ..GroupSpec::new(name()?, Pattern::new("nq:flow:*")?) };
    let mut consumers = Vec::new();
    for number in 0..CONSUMERS {
        let told = told.clone();
        let consumer = ConsumerName::new(format!("c{number}"))?;
        let run = move |events: Vec<crate::EventOf<Value>>, _| {
            // Nobody listens any more: the scenario is over.
            let _ = told.send(events.len());
            async { Ok(Effects::default()) }
        };
        consumers.push(groups.consume_batch(spec.clone(), consumer, run).await?);
    }
    Ok(consumers)
}

async fn leave(consumers: Vec<GroupConsumer>) -> Result<(), Failure> {
    for consumer in consumers {
        consumer.unsubscribe().await?;
    }
    Ok(())
}

/// Waits until every consumer has its share: before, partitions are still on their way from one to the other.
async fn spread(consumers: &[GroupConsumer]) -> Result<(), Failure> {
    let share = usize::from(PARTITIONS_DEFAULT) / CONSUMERS;
    let all = async {
        while consumers.iter().any(|one| usize::from(one.partitions()) != share) {
            tokio::time::sleep(LOOK).await;
        }
    };
    Ok(tokio::time::timeout(PATIENCE, all).await?)
}

/// A backlog, from a group that is resumed to its last cursor's move.
pub(in crate::bench) async fn drain(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let events = &site.stores().events;
    let groups = events.groups()?;
    let (told, mut hears) = mpsc::unbounded_channel();
    let consumers = join(site, StartFrom::Start, told).await?;
    spread(&consumers).await?;
    groups.pause_group(&name()?).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut number = 0;
    while number < sizes.backlog {
        let to = sizes.backlog.min(number + FILL);
        let batch = (number..to).map(|number| event(number, bytes)).collect::<Result<Vec<_>, _>>()?;
        events.append(&batch).await?;
        number = to;
    }
    let head = events.head().await?;
    let before = std::iter::from_fn(|| hears.try_recv().ok()).sum::<usize>();
    let watch = Watch::start(site).await?;
    groups.resume_group(&name()?).await?;
    let (mut handled, mut first) = (0, None);
    while handled < sizes.backlog - before {
        let count = tokio::time::timeout(PATIENCE, hears.recv()).await?.ok_or("the consumers ended")?;
        first.get_or_insert_with(|| watch.passed());
        handled += count;
    }
    let done = async {
        while groups.group(&name()?).await?.is_none_or(|group| group.partitions.iter().any(|one| one.position < head)) {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<(), Failure>(())
    };
    tokio::time::timeout(PATIENCE, done).await??;
    let measure = watch.stop("groups", handled).await?;
    leave(consumers).await?;
    expect("events handled", (handled + before) as u64, sizes.backlog)?;
    // Consumers see the end of a pause with their next beat: the clock starts with the first batch.
    let seconds = measure.seconds - first.unwrap_or_default().as_secs_f64();
    Ok(Measure { seconds, per_s: Some(handled as f64 / seconds), ..measure })
}

/// One event at a time.
pub(in crate::bench) async fn latency(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let events = &site.stores().events;
    let (told, mut hears) = mpsc::unbounded_channel();
    let consumers = join(site, StartFrom::Now, told).await?;
    spread(&consumers).await?;
    let clock = SystemClock::new();
    let watch = Watch::start(site).await?;
    let mut ticks = tokio::time::interval(sizes.every);
    let mut took = Vec::with_capacity(sizes.samples);
    let seen = Arc::new(AtomicUsize::new(0));
    for number in 0..sizes.samples {
        ticks.tick().await;
        let before = clock.monotonic();
        events.append(&[event(number, bytes)?]).await?;
        let count = tokio::time::timeout(PATIENCE, hears.recv()).await?.ok_or("the consumers ended")?;
        seen.fetch_add(count, Ordering::Relaxed);
        took.push(clock.monotonic() - before);
    }
    let measure = watch.stop("groups-latency", took.len()).await?;
    leave(consumers).await?;
    expect("events handled", seen.load(Ordering::Relaxed) as u64, sizes.samples)?;
    Ok(Measure { per_s: None, latency: Quantiles::of(took), ..measure })
}
