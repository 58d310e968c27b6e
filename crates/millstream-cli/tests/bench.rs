//! `millstream bench`: it measures, and leaves nothing behind. How fast is not asked here.

mod support;

use support::World;

#[test]
fn every_scenario_is_measured_beside_the_configured_file() {
    let world = World::new();
    let measures = world.json(&["bench", "--quick"]);
    let names: Vec<&str> = measures.iter().map(|measure| measure["bench"].as_str().unwrap_or_default()).collect();
    let expected = [
        "enqueue/8",
        "bulk",
        "drain",
        "drain-remove",
        "latency",
        "latency-loaded",
        "append/2",
        "subscribe",
        "counts",
        "idle",
    ];
    assert_eq!(names, expected);
    let drain = &measures[2];
    assert_eq!((&drain["store"], &drain["count"], &drain["bytes"]), (&"sqlite".into(), &400.into(), &100.into()));
    let left: Vec<_> = std::fs::read_dir(world.path()).expect("reads").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn without_json_there_is_a_table() {
    let world = World::new();
    let table = world.ok(&["bench", "--quick", "--scenario", "bulk,drain", "--runs", "2", "--store", "memory"]);
    let first: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(first, ["bench", "bulk", "drain"]);
}

#[test]
fn a_wrong_scenario_is_told_with_the_right_ones() {
    let ran = World::new().run(&["bench", "--scenario", "sprint"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("sprint") && ran.stderr.contains("drain-remove"), "{}", ran.stderr);
}
