//! Commands as handlers: what they are given, what becomes of what they answer, and how they end.

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Running, World};

fn drain(world: &World, queue: &str, exec: &str) {
    world.ok(&["work", "--queue", queue, "--exec", exec, "--drain", "-q"]);
}

#[test]
fn a_command_gets_its_job_and_answers_its_output() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "welcome", "--id", "one", "--data", "{\"to\":\"ada\"}"]);
    let names = "MILLSTREAM_QUEUE MILLSTREAM_JOB_NAME MILLSTREAM_JOB_ID MILLSTREAM_ATTEMPT MILLSTREAM_ATTEMPTS";
    let exec = format!("for name in {names}; do eval echo \\$$name; done; cat");
    drain(&world, "mail", &exec);
    let job = world.job("mail", "one");
    assert_eq!(job["output"], "mail\nwelcome\none\n1\n3\n{\"to\":\"ada\"}");
    world.ok(&["enqueue", "mail", "--id", "two", "--data", "[1]"]);
    drain(&world, "mail", "cat");
    assert_eq!(world.job("mail", "two")["output"], json!([1]), "what is JSON stays JSON");
}

#[test]
fn exit_codes_say_how_an_attempt_ended() {
    let world = World::new();
    for (id, data) in [("retried", "1"), ("failed", "65"), ("later", "75")] {
        world.ok(&["enqueue", "mail", "--id", id, "--data", data, "--attempts", "3", "--backoff", "fixed:10ms"]);
    }
    let exec = "read code; echo \"about $code\" >&2; [ $MILLSTREAM_ATTEMPT = 1 ] && [ ! -e seen-$code ] && { touch seen-$code; exit $code; }; echo ok";
    world.ok(&["work", "--queue", "mail", "--exec", exec, "--drain", "--snooze", "10ms"]);
    let retried = world.job("mail", "retried");
    assert_eq!((&retried["state"], &retried["attempt"]), (&json!("completed"), &json!(2)));
    let failed = world.job("mail", "failed");
    assert_eq!((&failed["state"], &failed["attempt"]), (&json!("failed"), &json!(1)));
    assert_eq!(failed["error"]["message"], "command exited with 65: about 65");
    assert_eq!(failed["error"]["details"], json!({ "exitCode": 65, "signal": null, "stderr": "about 65\n" }));
    let later = world.job("mail", "later");
    assert_eq!((&later["state"], &later["attempt"]), (&json!("completed"), &json!(1)), "no attempt was burned");
}

#[test]
fn an_error_keeps_the_end_of_stderr_while_the_job_waits() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one", "--attempts", "1"]);
    drain(&world, "mail", "head -c 10000 /dev/zero | tr '\\0' x >&2; echo the end >&2; kill -9 $$");
    let job = world.job("mail", "one");
    assert_eq!(
        job["error"]["message"].as_str().map(|text| text.starts_with("command killed by signal 9: ")),
        Some(true)
    );
    let stderr = job["error"]["details"]["stderr"].as_str().expect("text");
    assert!(stderr.ends_with("xthe end\n") && stderr.len() == 4096, "{} bytes", stderr.len());
}

#[test]
fn output_over_the_limit_fails_the_job() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    drain(&world, "mail", "head -c 5000000 /dev/zero | tr '\\0' x");
    let job = world.job("mail", "one");
    assert_eq!((&job["state"], &job["attempt"]), (&json!("failed"), &json!(1)));
    assert_eq!(job["error"]["message"], "the command printed more than a job's output may hold, and was killed");
}

#[test]
fn a_command_that_never_stops_printing_is_killed() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    drain(&world, "mail", "yes");
    let job = world.job("mail", "one");
    assert_eq!((&job["state"], &job["attempt"]), (&json!("failed"), &json!(1)), "{job}");
}

/// A command that starts another one. The other one holds the pipe `alive` open, and writes to it if it survives.
const FAMILY: &str = "(sleep 30; echo survived) > alive & echo begun >&2; wait";

/// Waits until nobody holds the pipe `alive` open.
fn assert_dead(reader: std::thread::JoinHandle<String>) {
    assert_eq!(reader.join().expect("reads"), "", "what the command started is still alive");
}

fn pipe(world: &World) -> std::thread::JoinHandle<String> {
    let path = world.path().join("alive");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    std::thread::spawn(move || std::fs::read_to_string(path).expect("reads"))
}

#[test]
fn a_cancelled_job_kills_all_that_its_command_started() {
    let world = World::new();
    let alive = pipe(&world);
    world.ok(&["enqueue", "mail", "--id", "one"]);
    let mut worker = world.start(&["work", "--queue", "mail", "--exec", FAMILY, "--drain"]);
    worker.until("begun");
    world.ok(&["jobs", "cancel", "mail", "one"]);
    assert!(worker.end().0.success());
    assert_dead(alive);
    assert_eq!(world.job("mail", "one")["state"], "cancelled");
}

#[test]
fn a_timeout_kills_all_that_its_command_started() {
    let world = World::new();
    let alive = pipe(&world);
    world.ok(&["enqueue", "mail", "--id", "one", "--timeout", "300ms", "--attempts", "1"]);
    drain(&world, "mail", FAMILY);
    assert_dead(alive);
    let job = world.job("mail", "one");
    assert_eq!(job["state"], "failed");
    assert!(job["error"]["message"].as_str().is_some_and(|text| text.contains("timed out")), "{job}");
}

#[test]
fn an_interrupt_lets_running_jobs_end() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    world.ok(&["enqueue", "mail", "--id", "two"]);
    let exec = "echo begun >&2; while [ ! -e go ]; do sleep 0.05; done; echo done";
    let mut worker = world.start(&["work", "--queue", "mail", "--exec", exec, "--concurrency", "1"]);
    worker.until("begun");
    worker.signal(Signal::INT);
    worker.until("stopping");
    world.write("go", "");
    let (status, _) = worker.end();
    assert!(status.success());
    assert_eq!(world.job("mail", "one")["output"], "done");
    assert_eq!(world.job("mail", "two")["state"], "waiting", "no more jobs were taken");
}

#[test]
fn a_second_interrupt_gives_jobs_back_at_once() {
    for second in [Signal::INT, Signal::TERM] {
        let world = World::new();
        let alive = pipe(&world);
        world.ok(&["enqueue", "mail", "--id", "one"]);
        let mut worker = world.start(&["work", "--queue", "mail", "--exec", FAMILY, "--grace", "1h"]);
        worker.until("begun");
        worker.signal(Signal::TERM);
        worker.until("stopping");
        worker.signal(second);
        let (status, rest) = worker.end();
        assert!(status.success(), "{rest}");
        assert!(rest.contains("1 job went back"), "{rest}");
        assert_dead(alive);
        assert_eq!(world.job("mail", "one")["state"], "waiting");
        drain(&world, "mail", "echo $MILLSTREAM_ATTEMPT");
        assert_eq!(world.job("mail", "one")["output"], 1, "no attempt was burned");
    }
}

#[test]
fn the_grace_has_an_end() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    let mut worker =
        world.start(&["work", "--queue", "mail", "--exec", "echo begun >&2; sleep 30", "--grace", "100ms"]);
    worker.until("begun");
    worker.signal(Signal::INT);
    assert!(worker.end().0.success());
    assert_eq!(world.job("mail", "one")["state"], "waiting");
}

#[test]
fn several_queues_and_workers_settle_every_job_once() {
    let world = World::new();
    let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
    world.write("lines.jsonl", lines);
    world.ok(&["enqueue", "a", "--lines", "lines.jsonl", "-q"]);
    world.ok(&["enqueue", "b", "--lines", "lines.jsonl", "-q"]);
    let args =
        ["work", "--queue", "a", "--queue", "b", "--exec", "read n; echo $n >> $MILLSTREAM_QUEUE.out", "--drain"];
    let workers: Vec<_> = (0..3).map(|_| world.start(&args)).collect();
    for worker in workers {
        let (status, said) = worker.end();
        assert!(status.success(), "{said}");
    }
    for queue in ["a", "b"] {
        let text = std::fs::read_to_string(world.path().join(format!("{queue}.out"))).expect("reads");
        let mut ran: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
        ran.sort_unstable();
        assert_eq!(ran, (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn json_prints_a_line_for_each_attempt() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    let lines: Vec<Value> = world.json(&["work", "--queue", "mail", "--exec", "exit 65", "--drain"]);
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["id"], &lines[0]["exitCode"]), (&json!("one"), &json!(65)));
}

/// A command may use the program itself: what it is told about its job is no configuration.
#[test]
fn a_command_may_enqueue() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    drain(&world, "mail", &format!("{} enqueue next --id two", env!("CARGO_BIN_EXE_millstream")));
    assert_eq!(world.job("mail", "one")["output"], "two");
    assert_eq!(world.job("next", "two")["state"], "waiting");
}

#[test]
fn a_closed_terminal_stops_the_worker_and_its_commands() {
    let world = World::new();
    let alive = pipe(&world);
    world.ok(&["enqueue", "mail", "--id", "one"]);
    // Where the tests themselves run under `nohup`, the signal would be ignored from the start.
    let mut command = world.command_by("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_millstream"), "work", "--queue", "mail"]);
    command.args(["--exec", FAMILY, "--grace", "100ms"]);
    let mut worker = Running::of(command);
    worker.until("begun");
    worker.signal(Signal::HUP);
    let (status, rest) = worker.end();
    assert!(status.success(), "{rest}");
    assert_dead(alive);
    let job = world.job("mail", "one");
    assert_eq!((&job["state"], &job["attempt"]), (&json!("waiting"), &json!(0)));
}

#[test]
fn under_nohup_the_worker_outlives_the_terminal() {
    let world = World::new();
    let program = env!("CARGO_BIN_EXE_millstream");
    let mut command = std::process::Command::new("sh");
    let exec = format!("trap '' HUP; exec {program} work --queue mail --exec cat");
    command.arg("-c").arg(exec).current_dir(world.path());
    let mut worker = Running::of(command);
    worker.until("working");
    worker.signal(Signal::HUP);
    world.ok(&["enqueue", "mail", "--id", "one"]);
    while world.job("mail", "one")["state"] != "completed" {
        assert!(worker.is_running(), "it was stopped");
    }
    worker.signal(Signal::TERM);
    assert!(worker.end().0.success());
}

#[test]
fn whoever_read_the_log_may_go() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one"]);
    let mut command =
        world.command(&["-vv", "work", "--queue", "mail", "--exec", "echo said >&2; echo done", "--drain"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("runs");
    drop(child.stderr.take());
    assert!(child.wait().expect("ends").success());
    assert_eq!(world.job("mail", "one")["output"], "done");
}

#[test]
fn a_command_that_says_much_fails_with_its_exit_code() {
    let world = World::new();
    world.ok(&["enqueue", "mail", "--id", "one", "--attempts", "1"]);
    drain(&world, "mail", "head -c 100000 /dev/zero >&2; exit 3");
    let error = world.job("mail", "one")["error"].clone();
    assert_eq!(error["details"]["exitCode"], 3, "{error}");
}

#[test]
fn a_file_that_is_deleted_under_a_worker_is_told() {
    let world = World::new();
    let mut worker = world.start(&["work", "--queue", "mail", "--exec", "cat"]);
    worker.until("working");
    std::fs::remove_file(world.path().join("millstream.db")).expect("removes");
    worker.until("was deleted or replaced");
    worker.signal(Signal::TERM);
    assert!(worker.end().0.success());
}
