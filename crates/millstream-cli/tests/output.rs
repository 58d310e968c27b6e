//! What the commands print, for people and as JSON.

mod support;

use serde_json::json;
use support::World;

/// A store with one job in each state that needs no worker, and some events.
fn filled() -> World {
    let world = World::new();
    world.ok(&["enqueue", "mail", "welcome", "--id", "one", "--data", "{\"to\":\"ada\"}"]);
    world.ok(&["enqueue", "mail", "welcome", "--id", "two", "--delay", "1d", "--priority", "-5", "--attempts", "1"]);
    world.ok(&["enqueue", "mail", "goodbye", "--id", "three"]);
    world.ok(&["jobs", "cancel", "mail", "three"]);
    world.ok(&["events", "append", "orders", "order.paid", "--data", "{\"order\":7}", "--run-id", "r1", "--flow", "f"]);
    world.ok(&["events", "append", "parcels", "parcel.sent"]);
    world
}

/// Each command's output for people and as JSON, one below the other.
fn shown(world: &World, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for command in commands {
        for flag in [None, Some("--json")] {
            let args: Vec<&str> = command.iter().copied().chain(flag).collect();
            let ran = world.run(&args);
            let talk: String = ran.stderr.lines().map(|line| format!("! {line}\n")).collect();
            text.push_str(&format!("$ millstream {}\n{}{talk}", args.join(" "), ran.stdout));
        }
    }
    world.redacted(&text)
}

#[test]
fn jobs() {
    let world = filled();
    let commands: [&[&str]; 4] = [
        &["jobs", "list", "mail"],
        &["jobs", "list", "mail", "--state", "waiting,delayed", "--limit", "1"],
        &["jobs", "get", "mail", "two"],
        &["jobs", "list", "nothing"],
    ];
    insta::assert_snapshot!("jobs", shown(&world, &commands));
    let commands: [&[&str]; 4] = [
        &["jobs", "promote", "mail", "two"],
        &["jobs", "cancel", "mail", "one", "two"],
        &["jobs", "retry", "mail", "one"],
        &["jobs", "remove", "mail", "one", "two"],
    ];
    insta::assert_snapshot!("jobs_steered", shown(&world, &commands));
}

#[test]
fn queues() {
    let world = filled();
    world.ok(&["queues", "pause", "reports"]);
    let commands: [&[&str]; 3] = [&["queues", "list"], &["queues", "pause", "mail"], &["queues", "resume", "mail"]];
    insta::assert_snapshot!("queues", shown(&world, &commands));
    insta::assert_snapshot!("queues_none", shown(&World::new(), &[&["queues", "list"]]));
}

#[test]
fn schedules() {
    let world = World::new();
    let set: &[&str] =
        &["schedules", "set", "mail", "nightly", "30 2 * * *", "--time-zone", "Europe/Berlin", "--data", "[1]"];
    let commands: [&[&str]; 3] = [set, &["schedules", "list"], &["schedules", "list", "other"]];
    insta::assert_snapshot!("schedules", shown(&world, &commands));
    world.ok(&["schedules", "remove", "mail", "nightly"]);
}

#[test]
fn events() {
    let world = filled();
    let commands: [&[&str]; 4] = [
        &["events", "query"],
        &["events", "query", "par*", "--limit", "1"],
        &["events", "tail", "--from", "start", "--limit", "2"],
        &["events", "append", "orders", "order.sent", "--key", "once"],
    ];
    insta::assert_snapshot!("events", shown(&world, &commands));
}

#[test]
fn event_groups() {
    let world = filled();
    let create = "events groups create billing ord* --from now --partitions 4 --poison park_event";
    let create: Vec<&str> = create.split(' ').collect();
    let commands: [&[&str]; 8] = [
        &["events", "groups", "list"],
        &create,
        &["events", "groups", "list"],
        &["events", "groups", "show", "billing"],
        &["events", "groups", "pause", "billing"],
        &["events", "groups", "list"],
        &["events", "groups", "resume", "billing"],
        &["events", "groups", "parked", "billing"],
    ];
    insta::assert_snapshot!("event_groups", shown(&world, &commands));
    assert_eq!(world.json(&["events", "groups", "reset", "billing", "--to", "start"])[0]["position"], 0);
    let group = world.json(&["events", "groups", "show", "billing"]).remove(0);
    assert_eq!((&group["lag"], &group["partitions"][3]["position"]), (&json!(2), &json!(0)));
    assert!(group["oldestMs"].is_u64(), "{group}");
    let refused: [&[&str]; 6] = [
        &["events", "groups", "unpark", "billing"],
        &["events", "groups", "create", "billing", "par*", "--partitions", "4"],
        &["events", "groups", "create", "odd", "--partitions", "3"],
        &["events", "groups", "reset", "billing", "--to", "99"],
        &["events", "groups", "reset", "nobody", "--to", "start"],
        &["events", "groups", "show", "nobody"],
    ];
    insta::assert_snapshot!("event_groups_refused", shown(&world, &refused));
    assert_eq!(world.json(&["events", "groups", "delete", "billing"])[0]["deleted"], true);
    assert_eq!(world.json(&["events", "groups", "list"])[0], json!([]));
}

#[test]
fn event_retention() {
    let world = filled();
    world.ok(&["events", "groups", "create", "billing", "--partitions", "4"]);
    world.ok(&["events", "groups", "create", "audit", "--from", "now", "--partitions", "1"]);
    let commands: [&[&str]; 9] = [
        &["events", "retention", "show"],
        &["events", "retention", "run"],
        &["events", "retention", "set", "--age", "30d", "--events", "1"],
        &["events", "retention", "run"],
        &["events", "retention", "show"],
        &["events", "groups", "reset", "billing", "--to", "now"],
        &["events", "retention", "run"],
        &["events", "retention", "set", "--forever"],
        &["events", "retention", "unset"],
    ];
    insta::assert_snapshot!("event_retention", shown(&world, &commands));
    let info = world.json(&["events", "retention", "show"]).remove(0);
    assert_eq!((&info["first"], &info["head"], &info["due"]), (&json!(2), &json!(2), &json!(0)));
    let refused: [&[&str]; 6] = [
        &["events", "retention", "set"],
        &["events", "retention", "set", "--size", "10GB"],
        &["events", "retention", "set", "--size", "ten"],
        &["events", "retention", "set", "--events", "0"],
        &["events", "retention", "set", "--forever", "--age", "1d"],
        &["events", "query", "--after", "0"],
    ];
    insta::assert_snapshot!("event_retention_refused", shown(&world, &refused));
}

/// What another process appends is printed as it comes.
#[test]
fn tail_is_live() {
    use std::io::BufRead as _;
    let world = World::new();
    for json in [false, true] {
        let args: &[&str] =
            if json { &["events", "tail", "s", "--follow", "--json"] } else { &["events", "tail", "s", "-f"] };
        let mut tail = world.command(args);
        let mut child =
            tail.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("runs");
        let mut said = String::new();
        std::io::BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut said).expect("reads");
        assert!(said.contains("following `s`"), "{said}");
        let mut lines = std::io::BufReader::new(child.stdout.take().expect("a pipe")).lines();
        for kind in ["one", "two"] {
            world.ok(&["events", "append", "s", kind, "--data", "{\"n\":1}"]);
            world.ok(&["events", "append", "other", kind]);
            let line = lines.next().expect("a line").expect("reads");
            if json {
                let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                assert_eq!((&event["type"], &event["data"]), (&json!(kind), &json!({ "n": 1 })));
            } else {
                assert!(line.contains(kind) && line.ends_with("{\"n\":1}"), "{line}");
            }
        }
        child.kill().expect("it runs");
        child.wait().expect("ends");
    }
}

#[test]
fn enqueue() {
    let world = World::new();
    world.write("three.jsonl", "{\"a\":1}\n2\n\"three\"\n");
    let commands: [&[&str]; 2] =
        [&["enqueue", "mail", "--id", "one"], &["enqueue", "mail", "number", "--lines", "three.jsonl"]];
    insta::assert_snapshot!("enqueue", shown(&world, &commands));
    let ran = world.run_with_stdin(&["enqueue", "mail", "--id", "stdin", "--data", "-"], "{\"from\": \"stdin\"}");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(world.job("mail", "stdin")["data"], json!({ "from": "stdin" }));
}

#[test]
fn every_job_option_arrives() {
    let world = World::new();
    world.ok(&[
        "enqueue",
        "mail",
        "--id",
        "one",
        "--attempts",
        "7",
        "--backoff",
        "exponential:2s..1m:0.5",
        "--priority",
        "-3",
        "--timeout",
        "5m",
        "--remove-on-complete",
        "100",
        "--remove-on-fail",
        "1d",
        "--run-at",
        "2099-01-01T00:00:00Z",
    ]);
    let job = world.job("mail", "one");
    let expected = json!({
        "attempts": 7,
        "backoff": { "type": "exponential", "firstMs": 2000, "capMs": 60_000, "jitter": 0.5 },
        "priority": -3,
        "timeoutMs": 300_000,
        "removeOnComplete": { "count": 100 },
        "removeOnFail": { "ageMs": 86_400_000 },
    });
    assert_eq!(job["settings"], expected);
    assert_eq!((&job["state"], &job["runAt"]), (&json!("delayed"), &json!("2099-01-01T00:00:00Z")));
}

#[test]
fn schema_and_config() {
    let world = World::new();
    let commands: [&[&str]; 4] =
        [&["schema", "status"], &["schema", "up"], &["schema", "status"], &["config", "check"]];
    // Columns are as wide as this directory's name.
    let narrow: Vec<String> = shown(&world, &commands).lines().map(single_spaced).collect();
    insta::assert_snapshot!("schema_and_config", narrow.join("\n"));
    let sql = World::new().ok(&["schema", "up", "--dry-run"]);
    assert!(sql.contains("CREATE TABLE"), "{sql}");
    insta::assert_snapshot!("config_keys", world.ok(&["config", "keys"]));
}

fn single_spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `head` ends early; a closed pipe is no failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    let world = filled();
    let mut command = world.command(&["events", "tail", "--from", "start"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    let ran = child.wait_with_output().expect("ends");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// What was asked for is done, whoever reads about it.
#[test]
fn a_closed_pipe_stops_no_work() {
    let world = World::new();
    world.write("many.jsonl", "1\n".repeat(10_001));
    unread(&world, &["enqueue", "mail", "--lines", "many.jsonl"]);
    assert_eq!(world.json(&["queues", "list"])[0][0]["counts"]["waiting"], 10_001);
    for id in ["one", "two"] {
        world.ok(&["enqueue", "few", "--id", id]);
    }
    unread(&world, &["jobs", "cancel", "few", "one", "two", "--json"]);
    assert_eq!(world.job("few", "two")["state"], "cancelled");
}

/// Runs it while nobody reads what it prints.
fn unread(world: &World, args: &[&str]) {
    let mut child = world.command(args).stdout(std::process::Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").success(), "{args:?}");
}

/// A terminal obeys what it is shown.
#[test]
fn control_characters_are_not_shown() {
    let world = World::new();
    world.ok(&["events", "append", "a\u{1b}[2Jb\nc", "t\u{1b}[31m", "--data", "\"\\u001b\\u009b\""]);
    let shown = world.ok(&["events", "query"]) + &world.ok(&["events", "tail", "--from", "start", "--limit", "1"]);
    assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{shown:?}");
    assert_eq!(shown.lines().count(), 3, "{shown:?}");
}

#[test]
fn watch_shows_what_happens() {
    let world = World::new();
    let mut watch = world.command(&["watch", "mail", "--limit", "1", "--json"]);
    let child = watch.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("runs");
    let mut child = child;
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).expect("reads");
    assert!(line.contains("watching queue `mail`"), "{line}");
    world.ok(&["enqueue", "mail", "--id", "one"]);
    let ran = child.wait_with_output().expect("ends");
    let event: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("a line of JSON");
    assert_eq!((&event["kind"], &event["job"]), (&json!("waiting"), &json!("one")));
}
