//! What cannot work is refused: told with what and what was expected, with an exit code, and with nothing lost.

mod support;

use support::{Ran, World};

/// It failed with this code, printed no data, and its one error line begins so.
fn assert_refused(ran: &Ran, code: i32, begins: &str) {
    assert_eq!(ran.code, code, "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "no data from what failed");
    assert!(ran.stderr.starts_with(begins), "{}", ran.stderr);
}

#[test]
fn an_unknown_adapter() {
    let world = World::new();
    let ran = world.run(&["queues", "list", "--set", "queue.adapter=mysql"]);
    assert_refused(&ran, 1, "error: queue.adapter: got \"mysql\", expected `sqlite`, `memory`, `postgres`, ");
    let ran = world.run(&["queues", "list", "--set", "queue.adapter=bullmq"]);
    assert_refused(
        &ran,
        1,
        "error: queue.adapter: got `bullmq`, expected an adapter of this build: `sqlite`, `memory`, `postgres` or `pgboss`",
    );
    let ran = world.command(&["queues", "list"]).env("REDIS_URL", "redis://ada:s3cret@db/0").output().expect("runs");
    let stderr = String::from_utf8(ran.stderr).expect("UTF-8");
    assert!(stderr.contains("got `redis`") && stderr.contains("REDIS_URL"), "{stderr}");
    assert!(!stderr.contains("s3cret"), "{stderr}");
}

#[test]
fn wrong_keys_are_told_all_at_once() {
    let world = World::new();
    world.write("millstream.toml", "[queue]\nadaptor = 'sqlite'\n[worker]\nconcurrency = 0\n");
    let ran = world.run(&["enqueue", "mail"]);
    assert_refused(&ran, 1, "error: the configuration has 2 problems:\n");
    insta::assert_snapshot!("wrong_keys", ran.stderr);
    assert!(!world.path().join("millstream.db").exists(), "nothing was opened");
    let ran = world.run(&["queues", "list", "--set", "nonsense"]);
    assert_refused(&ran, 2, "error: invalid value 'nonsense' for '--set <KEY=VALUE>'");
}

#[test]
fn an_unreadable_file() {
    let world = World::new();
    let ran = world.run(&["queues", "list", "--config", "missing.toml"]);
    assert_refused(&ran, 1, "error: missing.toml: got No such file or directory");
    let ran = world.run(&["enqueue", "mail", "--lines", "missing.jsonl"]);
    assert_refused(&ran, 1, "error: failed to read missing.jsonl: No such file or directory");
    let ran = world.run(&["enqueue", "mail", "--data-file", "missing.json"]);
    assert_refused(&ran, 1, "error: failed to read missing.json: No such file or directory");
    let ran = world.run(&["demo", "--input", "missing.jsonl"]);
    assert_refused(&ran, 1, "error: failed to read missing.jsonl: No such file or directory");
    world.write("broken.toml", "queue = \n");
    let ran = world.run(&["queues", "list", "--config", "broken.toml"]);
    assert_refused(&ran, 1, "error: broken.toml: got ");
    assert!(ran.stderr.contains("broken.toml:1"), "{}", ran.stderr);
}

#[test]
fn a_store_that_cannot_be_one() {
    let world = World::new();
    let ran = world.run(&["queues", "list", "--store", "no/such/directory.db"]);
    assert_refused(&ran, 1, "error: `");
    assert!(ran.stderr.contains("there is no directory"), "{}", ran.stderr);
    let made = std::process::Command::new("mkfifo").arg(world.path().join("pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    let ran = world.run(&["queues", "list", "--store", "pipe"]);
    assert_refused(&ran, 1, "error: `");
    assert!(ran.stderr.contains("is a pipe, a socket or a device"), "{}", ran.stderr);
    world.write(
        "notes.db",
        "these are my notes, and they are longer than a header of SQLite, which has 100 bytes: see?",
    );
    let ran = world.run(&["queues", "list", "--store", "notes.db"]);
    assert_refused(&ran, 1, "error: `");
    assert!(ran.stderr.contains("is not a SQLite database"), "{}", ran.stderr);
}

/// SQLite keeps `user_version` in bytes 60 to 63 of the file.
#[test]
fn a_newer_schema() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    let path = world.path().join("millstream.db");
    let mut bytes = std::fs::read(&path).expect("reads");
    let ours: Vec<u8> = bytes.splice(60..64, 99_u32.to_be_bytes()).collect();
    std::fs::write(&path, &bytes).expect("writes");
    for command in [&["queues", "list"][..], &["schema", "status"], &["schema", "up"]] {
        let ran = world.run(command);
        assert_refused(&ran, 1, "error: sqlite has schema version 99, expected 3 or older: ");
    }
    bytes.splice(60..64, ours);
    std::fs::write(&path, &bytes).expect("writes");
    assert_eq!(world.job("mail", "one")["state"], "waiting", "nothing was lost");
}

#[test]
fn a_payload_over_the_limit() {
    let world = World::new();
    world.write("big.json", format!("\"{}\"", "x".repeat(5 * 1024 * 1024)));
    let ran = world.run(&["enqueue", "mail", "--data-file", "big.json"]);
    assert_refused(&ran, 1, "error: --data-file big.json: got 5242882 bytes of JSON, expected at most 4194304 bytes");
    world.write("big.jsonl", format!("1\n\"{}\"\n", "x".repeat(5 * 1024 * 1024)));
    let ran = world.run(&["enqueue", "mail", "--lines", "big.jsonl"]);
    assert_refused(&ran, 1, "error: big.jsonl:2: got 5242882 bytes of JSON, expected at most 4194304 bytes");
    assert_eq!(world.json(&["queues", "list"])[0], serde_json::json!([]));
}

#[test]
fn a_schedule_that_has_no_time() {
    let world = World::new();
    let ran = world.run(&["schedules", "set", "mail", "k", "every day"]);
    assert_refused(&ran, 1, "error: invalid cron expression: got \"every day\", expected five cron fields");
    let ran = world.run(&["schedules", "set", "mail", "k", "0 8 * * *", "--time-zone", "Europe/Atlantis"]);
    assert_refused(&ran, 1, "error: invalid time zone: got \"Europe/Atlantis\", expected an IANA time zone name");
    assert_eq!(world.json(&["schedules", "list"])[0], serde_json::json!([]));
}

#[test]
fn an_invalid_name() {
    let world = World::new();
    let ran = world.run(&["enqueue", "e mail"]);
    assert_refused(
        &ran,
        2,
        "error: invalid value 'e mail' for '<QUEUE>': invalid queue name: got \"e mail\", expected 1 to 255 bytes",
    );
    assert_refused(&world.run(&["jobs", "list", "mail", "--state", "done"]), 2, "error: invalid value 'done'");
    let ran = world.run(&["enqueue", "mail", "--attempts", "-1"]);
    assert_refused(&ran, 2, "error: invalid value '-1' for '--attempts <N>': -1 is not in 1..=10000");
    let ran = world.run(&["enqueue", "mail", "--group", ""]);
    assert_refused(
        &ran,
        2,
        "error: invalid value '' for '--group <GROUP>': invalid job group: got \"\", expected 1 to 255",
    );
    world.ok(&["enqueue", "mail", "--id", "grouped", "--group", "ada"]);
    assert_eq!(world.job("mail", "grouped")["settings"]["group"], serde_json::json!({ "id": "ada" }));
    let ran = world.run(&["jobs", "list", "mail", "--limit", "-1"]);
    assert_refused(&ran, 2, "error: invalid value '-1' for '--limit <N>': -1 is not in 1..=1000");
    let ran = world.run(&["enqueue", "mail", "--run-at", "2026-11-21"]);
    assert_refused(
        &ran,
        2,
        "error: invalid value '2026-11-21' for '--run-at <TIME>': expected a time with its zone, such as 2026-",
    );
    let ran = world.run(&["enqueue", "mail", "--run-at", "9999-01-01T00:00:00Z"]);
    assert_refused(&ran, 1, "error: invalid jobs[0]: time to run at: got 9999-01-01T00:00:00Z, expected a time before");
    assert_refused(&world.run(&["enqueue", "mail", "--delay", "5"]), 2, "error: invalid value '5' for '--delay");
    for (flag, value) in [("--delay", "-5s"), ("--timeout", "-1s"), ("--backoff", "-1s"), ("--remove-on-fail", "-1d")] {
        let ran = world.run(&["enqueue", "mail", flag, value]);
        assert_refused(&ran, 2, &format!("error: invalid value '{value}' for '{flag} <"));
    }
    let ran = world.run(&["work", "--queue", "mail", "--exec", "true", "--grace", "-5s"]);
    assert_refused(&ran, 2, "error: invalid value '-5s' for '--grace <DURATION>'");
    assert_refused(
        &world.run(&["enqueue", "mail", "--data", "-"]),
        1,
        "error: --data stdin: got nothing, expected JSON",
    );
    assert_refused(&world.run(&["events", "query", "a*b"]), 2, "error: invalid value 'a*b'");
    for name in ["a b", "order:*"] {
        let ran = world.run(&["events", "groups", "create", name]);
        assert_refused(
            &ran,
            2,
            &format!("error: invalid value '{name}' for '<GROUP>': invalid group name: got \"{name}\""),
        );
        let ran = world.run(&["events", "groups", "delete", name]);
        assert_refused(&ran, 1, &format!("error: there is no group `{name}`\n"));
    }
}

#[test]
fn a_payload_line_that_is_not_json() {
    let world = World::new();
    world.write("bad.jsonl", "{\"a\": 1}\n\n{a: 2}\n");
    for command in
        [&["enqueue", "mail", "--lines", "bad.jsonl"][..], &["demo", "--store", "d.db", "--input", "bad.jsonl"]]
    {
        let ran = world.run(command);
        assert_refused(
            &ran,
            1,
            "error: bad.jsonl:3: got \"{a: 2}\" (key must be a string at column 2), expected one JSON value",
        );
    }
    assert!(
        !world.path().join("millstream.db").exists() && !world.path().join("d.db").exists(),
        "nothing was enqueued"
    );
    let ran = world.run_with_stdin(&["enqueue", "mail", "--lines", "-"], "1\noops\n");
    assert_refused(&ran, 1, "error: stdin:2: got \"oops\"");
    assert_refused(&world.run(&["enqueue", "mail", "--data", "oops"]), 2, "error: --data: got \"oops\"");
}

/// Such as `--exec "$COMMAND"` where the variable is not set: it would complete every job with nothing done.
#[test]
fn an_empty_command() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    for command in ["", " "] {
        let ran = world.run(&["work", "--queue", "mail", "--exec", command, "--drain"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("--exec <COMMAND>"), "{}", ran.stderr);
    }
    assert_eq!(world.job("mail", "one")["state"], "waiting", "nothing was lost");
}

#[test]
fn a_missing_handler() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "goodbye", "--id", "one", "--attempts", "1"]);
    world.ok(&["work", "--queue", "mail", "--name", "welcome", "--exec", "cat", "--drain"]);
    let job = world.job("mail", "one");
    assert_eq!(job["state"], "failed");
    let message = job["error"]["message"].as_str().expect("a message");
    for word in ["mail", "goodbye", "welcome"] {
        assert!(message.contains(word), "{message}");
    }
    world.ok(&["jobs", "retry", "mail", "one"]);
    world.ok(&["work", "--queue", "mail", "--exec", "cat", "--drain"]);
    assert_eq!(world.job("mail", "one")["state"], "completed", "nothing was lost");
}

#[test]
fn what_is_not_there() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    assert_refused(&world.run(&["jobs", "get", "mail", "two"]), 1, "error: queue `mail` has no job `two`\n");
    assert_refused(&world.run(&["jobs", "cancel", "mail", "two"]), 1, "error: queue `mail` has no job `two`\n");
    let ran = world.run(&["jobs", "promote", "mail", "one"]);
    assert_refused(&ran, 1, "error: job `one` of queue `mail` is waiting, expected delayed\n");
    assert_refused(&world.run(&["schedules", "remove", "mail", "k"]), 1, "error: queue `mail` has no schedule `k`\n");
    assert_refused(&world.run(&["queues", "resume", "male"]), 1, "error: there is no queue `male`\n");
    let ran = world.run(&["events", "append", "orders", "paid", "--expected", "3"]);
    assert_refused(&ran, 1, "error: stream `orders` is at version 0, expected 3\n");
}

#[test]
fn numbers_of_the_log_are_never_negative() {
    let world = World::new();
    let whole = "expected a whole number, 0 or more, got \"-1\"";
    for ran in [
        world.run(&["events", "query", "--after", "-1"]),
        world.run(&["events", "query", "--up-to", "-1"]),
        world.run(&["events", "append", "orders", "paid", "--expected", "-1"]),
        world.run(&["events", "groups", "parked", "billing", "--after", "-1"]),
    ] {
        assert_refused(&ran, 2, "error: invalid value '-1' for '--");
        assert!(ran.stderr.contains(whole), "{}", ran.stderr);
    }
    for (command, expected) in [
        (["events", "tail", "--limit", "0"].as_slice(), "expected a whole number, 1 or more, got \"0\""),
        (&["events", "retention", "set", "--events", "-1"], "expected a whole number, 1 or more, got \"-1\""),
        (&["events", "retention", "set", "--age", "-1d"], "expected a number and a unit, such as 500ms"),
        (&["events", "retention", "set", "--size", "-1MB"], "expected a number and a unit, such as 500MB"),
        (&["events", "groups", "reset", "billing", "--to", "-1"], "expected now, start, a position, or a time"),
        (&["events", "query", "--since", "2026-11-21"], "expected a time with its zone, such as"),
    ] {
        let ran = world.run(command);
        assert_refused(&ran, 2, "error: invalid value '");
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    assert!(!world.path().join("millstream.db").exists(), "nothing was opened");
    let ran = world.run(&["events", "retention", "set", "--age", "0s"]);
    assert_refused(&ran, 1, "error: invalid retention age: got 0ns, expected more than nothing");
}
