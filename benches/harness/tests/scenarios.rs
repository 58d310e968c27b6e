//! Every scenario does what it says it measures; how fast is not asked here.

use millstream_bench::{Bed, analytics, run};
use millstream_core::bench::{Measure, Plan, Scenario, Sizes, table};
use millstream_servers::Version;

fn quick() -> Plan {
    Plan {
        scenarios: Scenario::ALL.to_vec(),
        bytes: vec![100],
        runs: 1,
        sizes: Sizes::quick(),
        concurrency: Vec::new(),
    }
}

async fn counts(bed: Bed) -> Vec<(String, usize)> {
    let bed = bed.program(env!("CARGO_BIN_EXE_millstream-bench").into());
    let mut told = 0;
    let all = run(&quick(), &bed, None, None, |_: &Measure| told += 1, |_| {}).await.unwrap();
    assert_eq!(told, all.len());
    assert_eq!(table(&all).lines().count(), all.len() + 1);
    all.into_iter().filter(|one| one.bench != "append/2").map(|one| (one.bench, one.count)).collect()
}

fn expected() -> Vec<(String, usize)> {
    let all = [
        ("enqueue/8", 80),
        ("bulk", 400),
        ("drain", 400),
        ("drain-remove", 400),
        ("latency", 5),
        ("latency-loaded", 5),
        ("subscribe", 5),
        ("groups", 400),
        ("groups-latency", 5),
        ("counts", 5),
        ("idle", 1),
    ];
    all.into_iter().map(|(bench, count)| (bench.to_owned(), count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_runs_on_postgres() {
    let bed = Bed::private(Version::V15, true).unwrap();
    assert_eq!(counts(bed).await, expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_on_pgboss_tables() {
    let scenarios = [
        Scenario::Enqueue,
        Scenario::Bulk,
        Scenario::Drain,
        Scenario::DrainRemove,
        Scenario::Latency,
        Scenario::LatencyLoaded,
        Scenario::Counts,
    ];
    let plan = Plan { scenarios: scenarios.to_vec(), ..quick() };
    let bed = Bed::private(Version::V15, true).unwrap().pgboss();
    let all = run(&plan, &bed, None, None, |_| {}, |_| {}).await.unwrap();
    assert!(all.iter().all(|one| one.store == "millstream-pgboss"));
    let found: Vec<_> = all.into_iter().map(|one| (one.bench, one.count)).collect();
    let is_of_jobs =
        |(bench, _): &(String, usize)| !["subscribe", "groups", "groups-latency", "idle"].contains(&&**bench);
    assert_eq!(found, expected().into_iter().filter(is_of_jobs).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_runs_on_sqlite() {
    let bed = Bed::sqlite().unwrap();
    assert_eq!(counts(bed).await, expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_questions_of_analytics_are_asked() {
    let bed = Bed::private(Version::V15, true).unwrap();
    let asked = analytics(&bed, None, 200).await.unwrap();
    let told: Vec<_> = asked.iter().map(|one| (one.bench.as_str(), one.count)).collect();
    assert_eq!(told, [("analytics/slow", 200), ("analytics/types", 200), ("analytics/failed", 200)]);
}
