//! How fast stores and workers are: scenarios over any [`Stores`], each of them a [`Measure`].
//!
//! Whoever measures gives a [`Bed`], which opens empty stores for each scenario, and calls [`run`] for each of the
//! plan's. What only a server can tell (CPU, WAL) comes from its [`Gauge`], where it has one. The `millstream bench`
//! command and the repository's `benches/harness` run these, the latter beside raw SQL and other job queues.
//!
//! [`Stores`]: crate::Stores

pub mod machine;
mod measure;
mod plan;
mod scenario;
mod site;
mod table;

pub use measure::{Measure, Quantiles};
pub use plan::{Plan, Scenario, Sizes};
pub use scenario::{idle_worker, payload};
pub use site::{Bed, Gauge, Site, Used};
pub use table::{median, table};

/// What went wrong, for a person.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs one scenario of a plan, which may have several variants, each over stores of its own.
///
/// # Errors
///
/// What a store or a server answers, and a scenario that did not do what it was to measure.
pub async fn run(scenario: Scenario, plan: &Plan, bed: &dyn Bed, bytes: usize) -> Result<Vec<Measure>, Failure> {
    let load = machine::load();
    let mut all = scenario::run(scenario, plan, bed, bytes).await?;
    for measure in &mut all {
        (measure.bytes, measure.load) = (bytes, load);
    }
    Ok(all)
}
