//! The list of trials, and how each is run.

use std::{process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::{
    broken::{Breakage, Fault},
    case::{Case, Checked, Failure, Need},
    cases,
    harness::Harness,
    model,
    world::{Mode, World},
};
use crate::Signals;

/// How long a case waits for what must come: generous, because a busy machine is no broken store.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits on the broken store: there, what must come mostly does not.
const PATIENCE_BROKEN: Duration = Duration::from_secs(1);
/// Trials at once.
const TRIALS_PER_CORE: usize = 4;
/// A case that takes longer hangs.
const CASE_TIME_MAX: Duration = Duration::from_secs(60);

/// Every trial of one harness: each case with signals; and, where that is not told by another harness already, muted,
/// and on the broken store once per fault.
pub fn trials(harness: &Arc<dyn Harness>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (noun, case) in cases::all() {
        trials.push(sound(harness, noun, case, Signals::On));
        if harness.muted() {
            trials.push(sound(harness, noun, case, Signals::Muted));
        }
        if harness.twinned() {
            trials.extend(case.breaks_on.iter().map(|fault| twin(harness, noun, case, *fault)));
        }
    }
    trials.extend(model::trials(harness));
    trials
}

/// Runs the trials of every harness, as the arguments of the program say. What a test target's `main` answers.
pub fn run(harnesses: impl IntoIterator<Item = Arc<dyn Harness>>) -> ExitCode {
    let mut all = vec![suite("every_case_names_a_fault", every_case_names_a_fault)];
    all.push(suite("every_fault_is_named_by_a_case", every_fault_is_named_by_a_case));
    all.push(suite("every_name_is_unique", every_name_is_unique));
    for harness in harnesses {
        all.extend(trials(&harness));
    }
    let mut arguments = Arguments::from_args();
    // Most of a trial is waiting: for a disk, a server, or what must not come.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores * TRIALS_PER_CORE);
    libtest_mimic::run(&arguments, all).exit_code()
}

fn sound(harness: &Arc<dyn Harness>, noun: &str, case: &'static Case, signals: Signals) -> Trial {
    let suffix = if signals == Signals::Muted { "-muted" } else { "" };
    let name = format!("{}{suffix}::{noun}::{}", harness.name(), case.name);
    let harness = harness.clone();
    Trial::ignorable_test(name, move || {
        if let Some(reason) = skipped(case, &*harness, signals) {
            return Ok(Completion::ignored_with(reason));
        }
        // Where connections are cut, what must come comes later.
        let patience = if harness.calm() { PATIENCE } else { PATIENCE * 2 };
        let mode = Mode { signals, patience, breakage: None };
        block_on(attempt(harness, mode, case)).map(|()| Completion::Completed).map_err(refusal)
    })
}

/// Passes if the case fails on the broken store.
fn twin(harness: &Arc<dyn Harness>, noun: &str, case: &'static Case, fault: Fault) -> Trial {
    let name = format!("{}-broken::{noun}::{}::{fault:?}", harness.name(), case.name);
    let harness = harness.clone();
    Trial::ignorable_test(name, move || {
        if let Some(reason) = skipped(case, &*harness, Signals::On) {
            return Ok(Completion::ignored_with(reason));
        }
        let breakage = Arc::new(Breakage::new(fault));
        let mode = Mode { signals: Signals::On, patience: PATIENCE_BROKEN, breakage: Some(breakage.clone()) };
        match block_on(attempt(harness, mode, case)) {
            Ok(()) => Err(Failed::from(format!("the case cannot tell: it passes on a store with {fault:?}"))),
            Err(failure) if !breakage.reached() => {
                Err(Failed::from(format!("the case fails without having met {fault:?}: {failure}")))
            }
            Err(_) => Ok(Completion::Completed),
        }
    })
}

fn skipped(case: &Case, harness: &dyn Harness, signals: Signals) -> Option<&'static str> {
    let lacks = |need| match need {
        Need::Signals if !harness.calm() => Some("about wake-ups, which get lost with the connection"),
        Need::Signals => (signals == Signals::Muted).then_some("about wake-ups, which are muted"),
        Need::Calm => (!harness.calm()).then_some("about the answer to several commits, some of which are lost"),
        Need::Reopen => (!harness.durable()).then_some("nothing of this store outlives its handles"),
        Need::ReadyOrder => (!harness.ready_order()).then_some("jobs that come back take their old place"),
        Need::Groups => (!harness.groups()).then_some("this log has no consumer groups"),
        Need::Truncation => (!harness.truncates()).then_some("nothing cuts this log"),
        Need::OneRealm => (!harness.one_realm()).then_some("no commit reaches queue, events and state together"),
    };
    case.needs.iter().copied().find_map(lacks)
}

/// Runs a case in a world of its own, which is finished whatever becomes of the case.
async fn attempt(harness: Arc<dyn Harness>, mode: Mode, case: &'static Case) -> Checked {
    let world = Arc::new(World::open(harness, mode, seed_of(case.name)).await?);
    let within = world.clone();
    let checked = bounded(async move { (case.run)(&within).await }).await;
    checked.and(world.finish().await)
}

/// Runs a check in a task of its own: a panic is its failure, and so is a hang.
pub(super) async fn bounded(check: impl Future<Output = Checked> + Send + 'static) -> Checked {
    let mut task = tokio::task::JoinSet::new();
    task.spawn(tokio::time::timeout(CASE_TIME_MAX, check));
    match task.join_next().await {
        Some(Ok(Ok(checked))) => checked,
        Some(Err(panic)) => Err(Failure::new(format_args!("panicked: {panic}"))),
        Some(Ok(Err(_))) | None => Err(Failure::new(format_args!("still running after {CASE_TIME_MAX:?}"))),
    }
}

/// The same numbers in every run of a case.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(7, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

/// A runtime of the trial's own, gone with it.
pub(super) fn block_on<T>(work: impl Future<Output = Checked<T>>) -> Checked<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

pub(super) fn refusal(failure: Failure) -> Failed {
    Failed::from(failure.to_string())
}

fn suite(name: &str, check: fn() -> Checked) -> Trial {
    Trial::test(format!("suite::{name}"), move || check().map_err(refusal))
}

fn every_case_names_a_fault() -> Checked {
    match cases::all().find(|(_, case)| case.breaks_on.is_empty()) {
        Some((noun, case)) => Err(Failure::new(format_args!("{noun}::{} names no fault", case.name))),
        None => Ok(()),
    }
}

fn every_fault_is_named_by_a_case() -> Checked {
    let named = |fault: &Fault| cases::all().any(|(_, case)| case.breaks_on.contains(fault));
    match Fault::ALL.iter().find(|fault| !named(fault)) {
        Some(fault) => Err(Failure::new(format_args!("no case breaks on {fault:?}"))),
        None => Ok(()),
    }
}

fn every_name_is_unique() -> Checked {
    let mut seen = std::collections::HashSet::new();
    match cases::all().find(|(noun, case)| !seen.insert((*noun, case.name))) {
        Some((noun, case)) => Err(Failure::new(format_args!("two cases are called {noun}::{}", case.name))),
        None => Ok(()),
    }
}
