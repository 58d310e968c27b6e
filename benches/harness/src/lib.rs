//! How fast the engine is, as ratios to the raw limits of the machine it runs on, and to other job queues.
//!
//! [`run`] takes a [`Plan`] (which scenarios, how large, how often) to a [`Bed`] (Postgres at a URL, a private server,
//! or an SQLite file) and hands every [`Measure`] to the caller as it comes. The scenarios themselves are
//! [`millstream_core::bench`]; [`Peers`] are other queues, which run after Millstream in each scenario. The program
//! prints the measures as JSON lines on stdout, and tables of their medians on stderr:
//!
//! ```sh
//! cargo run --release -p millstream-bench -- --scenario drain --bytes 100 --runs 5
//! ```
//!
//! The method, for every scenario on Postgres: a schema of its own, `VACUUM ANALYZE` and `CHECKPOINT` before the clock
//! starts, CPU of the postmaster's process tree and bytes of WAL between start and end, and the raw scripts on the
//! same server before each run, so that every rate stands as a ratio to what this machine can do at that moment.

use std::path::Path;

mod analytics;
mod bed;
mod peers;
mod probe;
mod raw;
mod redis;
mod versus;

pub use analytics::analytics;
pub use bed::{Bed, Place};
pub use millstream_core::bench::Failure;
use millstream_core::bench::{self, Measure, Plan};
pub use peers::Peers;
pub use raw::Raw;
pub use versus::versus;

/// Runs the plan, each scenario with the peers after it. Each measure goes to `told` when it is taken; what is not one
/// (a script that is missing) to `said`.
///
/// # Errors
///
/// What a store or a server answers, and a scenario that did not do what it was to measure.
pub async fn run(
    plan: &Plan,
    bed: &Bed,
    raw_dir: Option<&Path>,
    peers: Option<&Peers>,
    mut told: impl FnMut(&Measure),
    mut said: impl FnMut(&str),
) -> Result<Vec<Measure>, Failure> {
    let mut all = Vec::new();
    for run in 1..=plan.runs {
        for &bytes in &plan.bytes {
            let raw = Raw::run(plan, bed, raw_dir, bytes, &mut said).await?;
            for &scenario in &plan.scenarios {
                let mut keep = |mut measure: Measure| {
                    measure.run = run;
                    raw.compare(&mut measure);
                    told(&measure);
                    all.push(measure);
                };
                for mut measure in bench::run(scenario, plan, bed, bytes).await? {
                    // The store's own name is that of the peer on the same tables.
                    if bed.is_pgboss() {
                        measure.store = "millstream-pgboss".to_owned();
                    }
                    keep(measure);
                }
                if let Some(peers) = peers {
                    peers.run(scenario, plan, bed, bytes, &mut keep).await?;
                }
            }
        }
    }
    Ok(all)
}
