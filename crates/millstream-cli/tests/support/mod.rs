//! The real program in a directory of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A working directory; the store is `millstream.db` in it.
pub(crate) struct World {
    directory: TempDir,
}

/// What a run of the program printed, and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program while it runs.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).expect("writes");
    }

    /// The program, without anything of this process's surroundings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.command_by(env!("CARGO_BIN_EXE_millstream"));
        command.args(args);
        command
    }

    /// Any program, with nothing of this environment that the program reads.
    pub(crate) fn command_by(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy();
            if ours.starts_with("MILLSTREAM_") || ours == "DATABASE_URL" || ours == "REDIS_URL" {
                command.env_remove(name);
            }
        }
        command.current_dir(self.path()).env("COLUMNS", "100").env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("runs"))
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("runs");
        child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("writes");
        ran(child.wait_with_output().expect("ends"))
    }

    /// Its stdout; it must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        ran.stdout
    }

    /// The JSON documents it prints; it must succeed.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let text = self.ok(&args);
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    pub(crate) fn job(&self, queue: &str, id: &str) -> Value {
        self.json(&["jobs", "get", queue, id]).remove(0)
    }

    /// Starts it and does not wait.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args))
    }

    /// A text without what differs from run to run: this directory, ids, times.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let whole = self.path().canonicalize().expect("exists");
        let text = text.replace(&*whole.to_string_lossy(), "[dir]").replace(&*self.path().to_string_lossy(), "[dir]");
        let part = |char: char| char.is_ascii_alphanumeric() || "-:.".contains(char);
        let mut redacted = String::new();
        let mut rest = &*text;
        while let Some(start) = rest.find(part) {
            let end = rest[start..].find(|char| !part(char)).map_or(rest.len(), |length| start + length);
            redacted.push_str(&rest[..start]);
            redacted.push_str(&word(&rest[start..end]));
            rest = &rest[end..];
        }
        redacted + rest
    }
}

fn word(word: &str) -> String {
    let dashes = |at: &[usize]| at.iter().all(|&at| word.as_bytes().get(at) == Some(&b'-'));
    let bytes = word.as_bytes();
    if word.len() == 36 && dashes(&[8, 13, 18, 23]) {
        return "[id]".into();
    }
    if word.len() >= 20 && dashes(&[4, 7]) && bytes[10] == b'T' && word.ends_with('Z') {
        return "[time]".into();
    }
    word.to_owned()
}

fn ran(output: std::process::Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("runs");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, stderr }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("asks").is_none()
    }

    /// Reads stderr until a line holds this text; answers the line.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("reads");
            assert!(read > 0, "ended before it said {text:?}; it said:\n{seen}");
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end: how it ended, and what it still said.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stderr, &mut rest).expect("reads");
        (self.child.wait().expect("ends"), rest)
    }
}

/// A test that fails leaves no process behind.
impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
