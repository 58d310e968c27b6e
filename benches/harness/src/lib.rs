//! How fast the engine is, as ratios to the raw limits of the machine it runs on.
//!
//! [`run`] takes a [`Plan`] (which scenarios, how large, how often) to a [`Bed`] (Postgres at a URL, a private server,
//! or an SQLite file) and hands every [`Measure`] to the caller as it comes; [`table()`] sums up their medians. The
//! program prints the measures as JSON lines on stdout, and the table on stderr:
//!
//! ```sh
//! cargo run --release -p millstream-bench -- --scenario drain --bytes 100 --runs 5
//! ```
//!
//! The method, for every scenario on Postgres: a schema of its own, `VACUUM ANALYZE` and `CHECKPOINT` before the clock
//! starts, CPU of the postmaster's process tree and bytes of WAL between start and end, and the raw scripts on the
//! same server before each run, so that every rate stands as a ratio to what this machine can do at that moment.

mod bed;
mod idle;
mod machine;
mod measure;
mod plan;
mod probe;
mod raw;
mod scenario;
mod table;

pub use bed::{Bed, Place};
pub use idle::idle_worker;
pub use measure::{Measure, Quantiles};
pub use plan::{Plan, Scenario, Sizes};
pub use raw::Raw;
pub use table::table;

/// What went wrong, for a person.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the plan. Each measure goes to `told` when it is taken; what is not one (a script that is missing) to `said`.
///
/// # Errors
///
/// What a store or a server answers, and a scenario that did not do what it was to measure.
pub async fn run(
    plan: &Plan,
    bed: &Bed,
    mut told: impl FnMut(&Measure),
    mut said: impl FnMut(&str),
) -> Result<Vec<Measure>, Failure> {
    let mut all = Vec::new();
    for run in 1..=plan.runs {
        for &bytes in &plan.bytes {
            let raw = Raw::run(plan, bed, bytes, &mut said).await?;
            for &scenario in &plan.scenarios {
                let load = machine::load();
                for mut measure in scenario::run(scenario, plan, bed, bytes).await? {
                    (measure.run, measure.bytes, measure.load) = (run, bytes, load);
                    raw.compare(&mut measure);
                    told(&measure);
                    all.push(measure);
                }
            }
        }
    }
    Ok(all)
}
