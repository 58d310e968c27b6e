//! Scenarios over the stores of a configuration leave nothing behind, and never touch the stores themselves.

use millstream::{
    Config, ConfigBed, Sources,
    bench::{Bed, Plan, Scenario, Sizes, run},
};

fn plan() -> Plan {
    Plan { scenarios: Vec::new(), bytes: Vec::new(), runs: 1, sizes: Sizes::quick(), concurrency: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scenario_runs_beside_the_file_and_removes_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config::load(&Sources::default().directory(directory.path())).expect("loads");
    let bed = ConfigBed::new(config);
    let found = run(Scenario::Drain, &plan(), &bed, 100).await.expect("runs");
    assert_eq!((&*found[0].bench, &*found[0].store, found[0].count), ("drain", "sqlite", 400));
    assert_eq!(std::fs::read_dir(directory.path()).expect("reads").count(), 0, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_come_to_its_end_is_cleared() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config::load(&Sources::default().directory(directory.path())).expect("loads");
    let bed = ConfigBed::new(config);
    let left = bed.open().await.expect("opens");
    assert!(left.stores().queue.queues().await.expect("reads").is_empty());
    assert!(std::fs::read_dir(directory.path()).expect("reads").count() > 0, "it is beside the configured file");
    drop(left);
    bed.clear().await.expect("clears");
    assert_eq!(std::fs::read_dir(directory.path()).expect("reads").count(), 0, "nothing is left");
}
