//! Random commands against a reference: what nobody thought of.
//!
//! `MILLSTREAM_SEED` repeats a failure, `MILLSTREAM_MODEL_RUNS` and `MILLSTREAM_MODEL_STEPS` look further.

mod commands;
mod racing;
mod reference;

use std::{pin::Pin, sync::Arc, time::Duration};

use libtest_mimic::Trial;

use super::{
    broken::{Breakage, Fault},
    case::{Checked, Failure},
    harness::Harness,
    trials::{block_on, bounded, refusal},
    world::{Mode, World},
};
use crate::{Entropy, Signals, SystemEntropy};

/// Runs of one trial, each with a seed of its own.
const RUNS_DEFAULT: u64 = 8;
/// Commands of one run.
const STEPS_DEFAULT: u64 = 250;
/// Seeds within which a broken store must be found out.
const BROKEN_RUNS_MAX: u64 = 40;

/// One run on a fresh world: its seed, and how many steps.
type Run = for<'w> fn(&'w World, u64, u64) -> Pin<Box<dyn Future<Output = Checked> + Send + 'w>>;

const MODELS: [(&str, Run, &[Fault]); 2] = [
    (
        "random_commands_agree_with_the_reference",
        |world, seed, steps| Box::pin(commands::run(world, seed, steps)),
        &[
            Fault::NoFence,
            Fault::DoubleClaim,
            Fault::LostJob,
            Fault::WrongCounts,
            Fault::LostSettle,
            Fault::BurnedAttempt,
            Fault::UncountedAttempt,
            Fault::NeverLost,
            Fault::BeatRenewsAll,
            Fault::IgnoredCancel,
            Fault::CancelWins,
            Fault::RescuesLiving,
            Fault::LocalPause,
            Fault::IgnoresPriority,
            Fault::ForgetsIds,
        ],
    ),
    (
        "racing_workers_keep_the_promises",
        |world, seed, steps| Box::pin(racing::run(world, seed, steps)),
        &[Fault::NoFence, Fault::DoubleClaim, Fault::LostJob, Fault::WrongCounts, Fault::LostSettle],
    ),
];

/// The model's trials, and their twins on the broken store.
pub(super) fn trials(harness: &Arc<dyn Harness>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, run, faults) in MODELS {
        trials.push(sound(harness, name, run));
        trials.extend(faults.iter().filter(|_| harness.twinned()).map(|fault| twin(harness, name, run, *fault)));
    }
    trials
}

fn sound(harness: &Arc<dyn Harness>, name: &str, run: Run) -> Trial {
    let (harness, name) = (harness.clone(), format!("{}::model::{name}", harness.name()));
    Trial::test(name, move || {
        let fixed = setting("MILLSTREAM_SEED");
        let runs = if fixed.is_some() { 1 } else { setting("MILLSTREAM_MODEL_RUNS").unwrap_or(RUNS_DEFAULT) };
        let steps = setting("MILLSTREAM_MODEL_STEPS").unwrap_or(STEPS_DEFAULT);
        let entropy = SystemEntropy::new();
        for _ in 0..runs {
            let seed = fixed.unwrap_or_else(|| entropy.next_u64() >> 32);
            let ran = block_on(attempt(harness.clone(), None, run, seed, steps));
            ran.map_err(|failure| refusal(Failure::new(format_args!("with MILLSTREAM_SEED={seed}: {failure}"))))?;
        }
        Ok(())
    })
}

/// Passes if some seed finds the fault.
fn twin(harness: &Arc<dyn Harness>, name: &str, run: Run, fault: Fault) -> Trial {
    let (harness, name) = (harness.clone(), format!("{}-broken::model::{name}::{fault:?}", harness.name()));
    Trial::test(name, move || {
        for seed in 0..BROKEN_RUNS_MAX {
            let breakage = Arc::new(Breakage::new(fault));
            let ran = block_on(attempt(harness.clone(), Some(breakage.clone()), run, seed, STEPS_DEFAULT));
            if ran.is_err() && breakage.reached() {
                return Ok(());
            }
        }
        Err(format!("{BROKEN_RUNS_MAX} seeds cannot tell a store with {fault:?}").into())
    })
}

async fn attempt(
    harness: Arc<dyn Harness>,
    breakage: Option<Arc<Breakage>>,
    run: Run,
    seed: u64,
    steps: u64,
) -> Checked {
    let mode = Mode { signals: Signals::On, patience: Duration::from_secs(5), breakage };
    let world = Arc::new(World::open(harness, mode, seed).await?);
    let within = world.clone();
    let checked = bounded(async move { run(&within, seed, steps).await }).await;
    checked.and(world.finish().await)
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A number below `bound`.
fn below(entropy: &dyn Entropy, bound: u64) -> u64 {
    entropy.next_u64() % bound
}
