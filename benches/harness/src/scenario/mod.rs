//! The scenarios, each over empty stores.

mod analytics;
mod append;
mod counts;
mod drain;
mod enqueue;
mod groups;
mod idle;
mod latency;
mod subscribe;
mod watch;
pub(crate) mod workers;

use millstream_core::{JobName, NewJob, QueueName};
use serde_json::{Value, json};

use crate::{
    Failure,
    bed::{Bed, Opened},
    measure::Measure,
    plan::{Plan, Scenario},
};

/// Runs one scenario, which may have several variants.
pub(crate) async fn run(scenario: Scenario, plan: &Plan, bed: &Bed, bytes: usize) -> Result<Vec<Measure>, Failure> {
    let each: Vec<Variant> = match scenario {
        Scenario::Append => plan.sizes.callers.iter().map(|callers| Variant::Callers(*callers)).collect(),
        Scenario::Drain | Scenario::DrainRemove if !plan.concurrency.is_empty() => {
            plan.concurrency.iter().map(|concurrency| Variant::Concurrency(*concurrency)).collect()
        }
        _ => vec![Variant::Only],
    };
    let mut all = Vec::with_capacity(each.len());
    if scenario == Scenario::Analytics {
        let opened = bed.open().await?;
        let measured = analytics::analytics(&opened, plan).await;
        opened.close().await?;
        return measured;
    }
    for variant in each {
        let opened = bed.open().await?;
        let measured = one(scenario, variant, plan, &opened, bytes).await;
        opened.close().await?;
        all.push(measured?);
    }
    Ok(all)
}

#[derive(Clone, Copy)]
enum Variant {
    Only,
    Callers(usize),
    Concurrency(u32),
}

async fn one(
    scenario: Scenario,
    variant: Variant,
    plan: &Plan,
    opened: &Opened,
    bytes: usize,
) -> Result<Measure, Failure> {
    let sizes = &plan.sizes;
    let concurrency = if let Variant::Concurrency(concurrency) = variant { Some(concurrency) } else { None };
    match scenario {
        Scenario::Enqueue => enqueue::singles(opened, sizes, bytes).await,
        Scenario::Bulk => enqueue::bulk(opened, sizes, bytes).await,
        Scenario::Drain => drain::drain(opened, sizes, bytes, concurrency, false).await,
        Scenario::DrainRemove => drain::drain(opened, sizes, bytes, concurrency, true).await,
        Scenario::Latency => latency::idle(opened, sizes, bytes).await,
        Scenario::LatencyLoaded => latency::loaded(opened, sizes, bytes).await,
        Scenario::Append => {
            let callers = if let Variant::Callers(callers) = variant { callers } else { 1 };
            append::append(opened, sizes, bytes, callers).await
        }
        Scenario::Subscribe => subscribe::subscribe(opened, sizes, bytes).await,
        Scenario::Groups => groups::drain(opened, sizes, bytes).await,
        Scenario::GroupsLatency => groups::latency(opened, sizes, bytes).await,
        Scenario::Analytics => Err("it has several measures".into()),
        Scenario::Counts => counts::counts(opened, sizes, bytes).await,
        Scenario::Idle => idle::idle(opened, sizes, plan.program.as_deref()).await,
    }
}

/// The queue of every scenario.
pub(crate) fn queue() -> Result<QueueName, Failure> {
    Ok(QueueName::new("bench")?)
}

/// A welcome mail, padded to a size.
pub(crate) fn payload(number: usize, bytes: usize) -> Value {
    let bare = json!({ "id": number, "to": "user@example.com", "tpl": "welcome", "pad": "" });
    let size = bare.to_string().len();
    json!({ "id": number, "to": "user@example.com", "tpl": "welcome", "pad": "x".repeat(bytes.saturating_sub(size)) })
}

pub(crate) fn job(queue: &QueueName, name: &JobName, number: usize, bytes: usize) -> NewJob {
    NewJob::new(queue.clone(), name.clone(), payload(number, bytes))
}

/// Stores jobs in batches.
pub(crate) async fn fill(
    opened: &Opened,
    count: usize,
    batch: usize,
    make: impl Fn(usize) -> NewJob,
) -> Result<(), Failure> {
    let mut done = 0;
    while done < count {
        let jobs: Vec<NewJob> = (done..count.min(done + batch)).map(&make).collect();
        done += opened.stores.queue.enqueue(&jobs).await?.len();
    }
    Ok(())
}

/// A scenario that did not do what it measured has no number.
pub(crate) fn expect(what: &str, found: u64, expected: usize) -> Result<(), Failure> {
    match found == expected as u64 {
        true => Ok(()),
        false => Err(format!("{what}: {found}, expected {expected}").into()),
    }
}
