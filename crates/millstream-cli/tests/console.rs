//! The shell sessions of the docs, run as they are written: every command succeeds, and prints the lines shown.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A command of a page, and the lines that its output must have among others, in order; `…` stands for anything.
struct Step {
    line: usize,
    command: String,
    shown: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands of a page's `console` blocks.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (line, text) in (1..).zip(page.lines()) {
        match text {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (text.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { line, command: command.to_owned(), shown: Vec::new() }),
                (None, Some(step)) => step.shown.push(text.to_owned()),
                (None, None) => panic!("line {line}: output before the first command"),
            },
        }
    }
    steps
}

/// Whether a line of output has these parts in order, whatever is between them and around.
fn matches(shown: &str, line: &str) -> bool {
    let mut rest = line;
    shown.trim().split('…').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Runs a page in a folder of its own; answers what went wrong.
fn run(page: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_millstream")).parent().unwrap();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let ours = std::iter::once(program.to_owned());
    let path = std::env::join_paths(ours.chain(std::env::split_paths(&inherited))).unwrap();
    let mut wrong = String::new();
    for Step { line, command, shown } in steps(page) {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("{command} 2>&1"))
            .current_dir(directory.path())
            .env("PATH", &path)
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            writeln!(wrong, "line {line}: `{command}` ended with {}:\n{text}", output.status).unwrap();
        }
        let mut lines = text.lines();
        for shown in shown {
            if !lines.any(|line| matches(&shown, line)) {
                writeln!(wrong, "line {line}: `{command}` does not print {shown:?} there, but:\n{text}").unwrap();
                break;
            }
        }
    }
    wrong
}

fn check(page: &str) {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    assert!(!steps(&text).is_empty(), "{page} shows no session");
    let wrong = run(&text);
    assert!(wrong.is_empty(), "{page} shows what does not happen:\n{wrong}");
}

#[test]
fn getting_started_happens_as_written() {
    check("docs/getting-started.md");
}

#[test]
fn the_events_happen_as_written() {
    check("docs/events.md");
}

#[test]
fn the_readme_happens_as_written() {
    check("README.md");
}

#[test]
fn a_page_that_is_wrong_is_caught() {
    let page = "```console\n$ millstream queues list\nQUEUE  NONSENSE\n$ millstream jobs get q none\n```\n";
    let wrong = run(page);
    assert!(wrong.contains("line 2: `millstream queues list` does not print"), "{wrong}");
    assert!(wrong.contains("line 4: `millstream jobs get q none` ended with"), "{wrong}");
}
