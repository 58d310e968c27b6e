//! The demo: what goes in comes out, and the store says so.

mod support;

use serde_json::Value;
use support::World;

/// The last line of its stdout.
fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn every_line_of_the_input_is_a_job_that_is_settled() {
    let world = World::new();
    let lines: String = (0..220).map(|n| format!("{{\"event\":\"push\",\"payload\":{{\"n\":{n}}}}}\n")).collect();
    world.write("hooks.jsonl", lines);
    let text = world.ok(&["demo", "--input", "hooks.jsonl", "--json", "--store", "demo.db"]);
    let summary = last_line(&text);
    assert_eq!(text.lines().count(), 1);
    assert_eq!(summary["jobs"], serde_json::json!({ "enqueued": 220, "completed": 220, "failed": 0 }));
    assert_eq!(summary["events"]["appended"], 660);
    assert!(summary["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    let keys: Vec<&String> = summary.as_object().expect("a table").keys().collect();
    assert_eq!(keys.len(), 3);
    let queues = world.json(&["queues", "list", "--store", "demo.db"]).remove(0);
    assert_eq!(queues[0]["counts"]["completed"], 220, "the store agrees");
    let retried =
        world.json(&["events", "query", "--type", "webhook.handled", "--limit", "1000", "--store", "demo.db"]);
    assert_eq!(retried.len(), 220, "one last event a job");
    assert!(retried.iter().any(|event| event["attempt"] == 2), "some ran again");
}

#[test]
fn made_up_webhooks_fan_out_and_nothing_is_left_behind() {
    let world = World::new();
    let summary = last_line(&world.ok(&["demo", "--jobs", "20", "--json"]));
    assert_eq!(summary["jobs"], serde_json::json!({ "enqueued": 35, "completed": 35, "failed": 0 }));
    assert_eq!(std::fs::read_dir(world.path()).expect("reads").count(), 0);
}

#[test]
fn a_store_that_is_used_again_counts_only_this_run() {
    let world = World::new();
    for _ in 0..2 {
        let summary = last_line(&world.ok(&["demo", "--jobs", "5", "--json", "--store", "demo.db"]));
        assert_eq!(summary["jobs"]["enqueued"], summary["jobs"]["completed"]);
        assert_eq!(summary["jobs"]["enqueued"], 8);
    }
}

/// A run that was interrupted leaves jobs; the next one works them, and counts its own.
#[test]
fn jobs_that_another_run_left_are_not_counted() {
    let world = World::new();
    for (queue, id) in [("demo.webhooks", "left-000001"), ("demo.webhooks", "left-000002"), ("demo.notify", "left-0")] {
        world.ok(&["enqueue", queue, "push", "--id", id, "--data", "{\"run\":\"left\"}", "--store", "demo.db"]);
    }
    let summary = last_line(&world.ok(&["demo", "--jobs", "5", "--json", "--store", "demo.db"]));
    assert_eq!(summary["jobs"], serde_json::json!({ "enqueued": 8, "completed": 8, "failed": 0 }));
    let queues = world.json(&["queues", "list", "--store", "demo.db"]).remove(0);
    assert_eq!((&queues[0]["counts"]["completed"], &queues[1]["counts"]["completed"]), (&4.into(), &7.into()));
}

#[test]
fn two_demos_on_one_store_count_their_own() {
    let world = World::new();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut command = world.command(&["demo", "--jobs", "40", "--json", "--store", "demo.db"]);
        runs.push(command.stdout(std::process::Stdio::piped()).spawn().expect("starts"));
    }
    for run in runs {
        let ran = run.wait_with_output().expect("ends");
        assert!(ran.status.success(), "{ran:?}");
        let summary = last_line(&String::from_utf8(ran.stdout).expect("UTF-8"));
        assert_eq!(summary["jobs"], serde_json::json!({ "enqueued": 70, "completed": 70, "failed": 0 }));
    }
}

#[test]
fn defaults_that_remove_finished_jobs_do_not_spoil_the_summary() {
    let world = World::new();
    let summary =
        last_line(&world.ok(&["demo", "--jobs", "5", "--json", "--set", "defaultJobOptions.removeOnComplete=true"]));
    assert_eq!(summary["jobs"]["completed"], 8);
}

#[test]
fn the_summary_is_a_table() {
    let world = World::new();
    let text = world.ok(&["demo", "--jobs", "20"]);
    let (before, _) = text.rsplit_once(';').expect("the seconds come last");
    insta::assert_snapshot!("demo", before);
}
