//! Nothing outlives a test process, however it ends.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use millstream_servers::{Pgbouncer, Postgres, Version, fault::process};

/// Set for the process that plays the test: `cargo test` itself skips over its part.
const PART: &str = "MILLSTREAM_LEFTOVERS_PART";

/// Ends when nothing in the folders runs and they are gone, or fails after 30 seconds. A shell, for it can wait; with
/// the folders by environment, for the watchdog ends whatever names them on its command line.
const GONE: &str = r#"
for try in $(seq 300); do
    left=
    for folder in $FOLDERS; do
        [ -e "$folder" ] && left="$left $folder"
        left="$left$(printf '%s' "$folder" | grep -lsF -f - /proc/[0-9]*/cmdline)"
    done
    [ -z "$left" ] && exit 0
    sleep 0.1
done
echo "$left" >&2
exit 1
"#;

/// A part of the test below: starts servers, says where, and waits for its end.
#[test]
fn part_of_a_test_with_servers() {
    if env::var_os(PART).is_none() {
        return;
    }
    let shared = Postgres::get(Version::V18).unwrap();
    let own = Postgres::start(Version::V15).unwrap();
    let pooler = Pgbouncer::start(shared).unwrap();
    let mut worker = process::Child::spawn(Command::new("sleep").arg("600")).unwrap();
    assert!(worker.std().try_wait().unwrap().is_none());
    worker.stop().unwrap();
    process::stop(own.pid().unwrap()).unwrap();
    let (shared_folder, own_folder) = (shared.folder().display(), own.folder().display());
    let (worker_pid, pooler_pid) = (worker.pid(), pooler.pid().unwrap());
    writeln!(std::io::stdout(), "\nready {shared_folder} {own_folder} {worker_pid} {pooler_pid}").unwrap();
    let how = env::var(PART).unwrap();
    assert_ne!(how, "panic", "on purpose");
    // Until it is killed: nobody writes there, and nobody closes it.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

fn play(how: &str) {
    let mut test = Command::new(env::current_exe().unwrap());
    test.args(["--exact", "part_of_a_test_with_servers", "--nocapture"]).env(PART, how);
    let mut test = test.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let ready = lines.map(Result::unwrap).find(|line| line.starts_with("ready ")).expect("the servers start");
    let words: Vec<&str> = ready.split(' ').collect();
    let [_, shared, own, worker, pooler] = words[..] else { panic!("{ready}") };
    if how == "kill" {
        process::kill9(test.id()).unwrap();
    }
    assert!(!test.wait().unwrap().success());
    let gone = Command::new("sh").args(["-c", GONE]).env("FOLDERS", format!("{shared} {own}")).status().unwrap();
    assert!(gone.success(), "left behind: {shared} or {own}");
    for pid in [worker, pooler] {
        let gone = "for try in $(seq 300); do kill -0 \"$0\" || exit 0; sleep 0.1; done; exit 1";
        let gone = Command::new("sh").args(["-c", gone, pid]).stderr(Stdio::null()).status().unwrap();
        assert!(gone.success(), "left behind: {pid}");
    }
}

#[test]
fn a_killed_test_leaves_no_process_and_no_folder() {
    play("kill");
}

#[test]
fn a_panicking_test_leaves_no_process_and_no_folder() {
    play("panic");
}
