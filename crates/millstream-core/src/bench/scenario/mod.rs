//! The scenarios, each over empty stores.

mod append;
mod counts;
mod drain;
mod enqueue;
mod groups;
mod idle;
mod latency;
mod subscribe;
mod watch;
mod workers;

use crate::{JobName, NewJob, QueueName};
use serde_json::{Value, json};

pub use workers::idle_worker;

use crate::bench::{Bed, Failure, Measure, Plan, Scenario, Site};

/// Runs one scenario, which may have several variants.
pub(in crate::bench) async fn run(
    scenario: Scenario,
    plan: &Plan,
    bed: &dyn Bed,
    bytes: usize,
) -> Result<Vec<Measure>, Failure> {
    let each: Vec<Variant> = match scenario {
        Scenario::Append => plan.sizes.callers.iter().map(|callers| Variant::Callers(*callers)).collect(),
        Scenario::Drain | Scenario::DrainRemove if !plan.concurrency.is_empty() => {
            plan.concurrency.iter().map(|concurrency| Variant::Concurrency(*concurrency)).collect()
        }
        _ => vec![Variant::Only],
    };
    let mut all = Vec::with_capacity(each.len());
    for variant in each {
        let site = bed.open().await?;
        let measured = one(scenario, variant, plan, &*site, bytes).await;
        site.finish().await?;
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
    site: &dyn Site,
    bytes: usize,
) -> Result<Measure, Failure> {
    let sizes = &plan.sizes;
    let concurrency = if let Variant::Concurrency(concurrency) = variant { Some(concurrency) } else { None };
    match scenario {
        Scenario::Enqueue => enqueue::singles(site, sizes, bytes).await,
        Scenario::Bulk => enqueue::bulk(site, sizes, bytes).await,
        Scenario::Drain => drain::drain(site, sizes, bytes, concurrency, false).await,
        Scenario::DrainRemove => drain::drain(site, sizes, bytes, concurrency, true).await,
        Scenario::Latency => latency::idle(site, sizes, bytes).await,
        Scenario::LatencyLoaded => latency::loaded(site, sizes, bytes).await,
        Scenario::Append => {
            let callers = if let Variant::Callers(callers) = variant { callers } else { 1 };
            append::append(site, sizes, bytes, callers).await
        }
        Scenario::Subscribe => subscribe::subscribe(site, sizes, bytes).await,
        Scenario::Groups => groups::drain(site, sizes, bytes).await,
        Scenario::GroupsLatency => groups::latency(site, sizes, bytes).await,
        Scenario::Counts => counts::counts(site, sizes, bytes).await,
        Scenario::Idle => idle::idle(site, sizes).await,
    }
}

/// The queue of every scenario.
pub(in crate::bench) fn queue() -> Result<QueueName, Failure> {
    Ok(QueueName::new("bench")?)
}

/// A welcome mail, padded to a size.
pub fn payload(number: usize, bytes: usize) -> Value {
    let bare = json!({ "id": number, "to": "user@example.com", "tpl": "welcome", "pad": "" });
    let size = bare.to_string().len();
    json!({ "id": number, "to": "user@example.com", "tpl": "welcome", "pad": "x".repeat(bytes.saturating_sub(size)) })
}

pub(in crate::bench) fn job(queue: &QueueName, name: &JobName, number: usize, bytes: usize) -> NewJob {
    NewJob::new(queue.clone(), name.clone(), payload(number, bytes))
}

/// Stores jobs in batches.
pub(in crate::bench) async fn fill(
    site: &dyn Site,
    count: usize,
    batch: usize,
    make: impl Fn(usize) -> NewJob,
) -> Result<(), Failure> {
    let mut done = 0;
    while done < count {
        let jobs: Vec<NewJob> = (done..count.min(done + batch)).map(&make).collect();
        done += site.stores().queue.enqueue(&jobs).await?.len();
    }
    Ok(())
}

/// A scenario that did not do what it measured has no number.
pub(in crate::bench) fn expect(what: &str, found: u64, expected: usize) -> Result<(), Failure> {
    match found == expected as u64 {
        true => Ok(()),
        false => Err(format!("{what}: {found}, expected {expected}").into()),
    }
}
