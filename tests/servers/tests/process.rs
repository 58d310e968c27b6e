//! Processes are stopped, woken and killed with all that they started.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use millstream_servers::fault::process::{self, Child};

/// Starts a second process that holds the same pipe: the pipe's end comes when both are gone.
fn family(then: &str) -> (Child, impl BufRead + use<>) {
    let script = format!("sleep 600 & echo started; {then}");
    let mut child = Child::spawn(Command::new("sh").args(["-c", &script]).stdout(Stdio::piped())).unwrap();
    let mut says = BufReader::new(child.std().stdout.take().unwrap());
    let mut line = String::new();
    says.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    (child, says)
}

fn at_end(mut says: impl Read) -> bool {
    says.read_to_end(&mut Vec::new()).unwrap() == 0
}

#[test]
fn a_killed_process_takes_along_what_it_started() {
    let (mut child, says) = family("wait");
    assert!(!child.kill9().unwrap().success());
    assert!(at_end(says));
    assert!(process::kill9(child.pid()).is_err(), "the process is still there");
    assert!(!child.kill9().unwrap().success(), "a second time changes nothing");
}

#[test]
fn one_that_has_ended_by_itself_leaves_nothing_either() {
    let (mut child, says) = family("exit 0");
    assert!(child.std().wait().unwrap().success());
    drop(child);
    assert!(at_end(says));
}

#[test]
fn a_stopped_group_is_woken_and_killed() {
    let (child, says) = family("wait");
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.pid())).ok()?;
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    child.stop().unwrap();
    // Each signal is sent when the call returns, and carried out when the process gets its turn.
    while state().is_some_and(|state| state != 'T') {}
    child.cont().unwrap();
    while state() == Some('T') {}
    child.stop().unwrap();
    drop(child);
    assert!(at_end(says));
}
